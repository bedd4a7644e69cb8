"""TLS in front of a server that has none: what a Redis of version 7 does itself."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import trustme


class Authority:
    """Certificates of our own in a folder.

    Args:
        folder: Where the PEM files go.
    """

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self.ca, self.certificate, self.key = (folder / name for name in ("ca.pem", "client.pem", "client.key"))
        self._authority.cert_pem.write_to_path(self.ca)
        client = self._authority.issue_cert("client.test")
        client.cert_chain_pems[0].write_to_path(self.certificate)
        client.private_key_pem.write_to_path(self.key)

    def server_context(self, host: str, *, wants_client: bool) -> ssl.SSLContext:
        """What a server for a host shows, and what it asks of clients."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(host).configure_cert(context)
        if wants_client:
            self._authority.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@contextlib.contextmanager
def tls_relay(socket: Path, context: ssl.SSLContext) -> Iterator[int]:
    """A port on loopback that speaks TLS and passes everything on to a unix socket."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # of handshakes that are meant to fail

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError):
                while data := await reader.read(2**16):
                    writer.write(data)
                    await writer.drain()
        finally:
            writer.transport.abort()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_unix_connection(str(socket))
        await asyncio.gather(pump(reader, forth), pump(back, writer))

    async def end() -> None:
        open_still = asyncio.all_tasks() - {asyncio.current_task()}
        for task in open_still:
            task.cancel()
        await asyncio.gather(*open_still, return_exceptions=True)
        await asyncio.sleep(0.01)  # what was aborted is closed in the turn after

    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0, ssl=context))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(end())
        loop.close()
