"""A real S3 server of our own, moto's, as a process on loopback; and a line to it that can be made to fail."""

import contextlib
import http.client
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from service.storage.blobs.s3 import S3BlobStore, S3Options
from tests.support.polling import eventually

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "key-of-the-tests", "AWS_SECRET_ACCESS_KEY": "secret-of-the-tests"}
# Nothing of the developer's own may be reached or read: no profile, no region, no role of the machine.
ENVIRONMENT = CREDENTIALS | {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_REGION": "us-east-1",
}
FOREIGN = ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION")


@contextlib.contextmanager
def aws_environment() -> Iterator[None]:
    """AWS_* as the tests need them."""
    before = {name: os.environ.get(name) for name in (*ENVIRONMENT, *FOREIGN)}
    for name in FOREIGN:
        os.environ.pop(name, None)
    os.environ.update(ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


class S3Server:
    """The process; it forgets everything when it is killed."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, at a restart on the port of before."""
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def listening() -> int:
            assert self.process.poll() is None, self.log.read_text()
            said = re.search(r"Running on http://127\.0\.0\.1:(\d+)", self.log.read_text())
            return int(said.group(1)) if said else 0

        self.port = eventually(listening, "the S3 server listens", 60)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def make_bucket(self, name: str, *, versioned: bool = False) -> None:
        store = S3BlobStore(f"s3://{name}", S3Options(self.url))
        store.fs.call_s3("create_bucket", Bucket=name)
        if versioned:
            store.fs.call_s3("put_bucket_versioning", Bucket=name, VersioningConfiguration={"Status": "Enabled"})


@contextlib.contextmanager
def s3_server(log: Path) -> Iterator[S3Server]:
    with aws_environment():
        server = S3Server(log)
        try:
            yield server
        finally:
            server.kill()


# What a line does to a request: given the method and the path, an answer of its own or None to pass it on.
Fault = Callable[[str, str], "Answer | None"]


class Answer:
    """What a server says in place of the real one; ``cut`` keeps back so many bytes of what the header promises."""

    def __init__(self, status: int, code: str = "", headers: dict[str, str] | None = None) -> None:
        self.status = status
        self.headers = headers or {}
        self.body = f"<Error><Code>{code}</Code><Message>made by a test</Message></Error>".encode()


class Line:
    """A proxy before the server. It passes everything on until it is told otherwise."""

    def __init__(self, target: str) -> None:
        self.fault: Fault = lambda _method, _path: None
        self.spoil: Callable[[bytes], bytes] | None = None  # what becomes of the bodies of objects that are read
        self.asked: list[str] = []
        self.released = threading.Event()
        line, address = self, urlsplit(target).netloc

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                line.asked.append(f"{self.command} {self.path}")
                made = line.fault(self.command, self.path)
                if made is not None:
                    self.answer(made.status, made.headers, made.body, len(made.body))
                    return
                connection = http.client.HTTPConnection(address, timeout=30)
                try:
                    connection.request(self.command, self.path, body, dict(self.headers))
                    response = connection.getresponse()
                    data = response.read()
                finally:
                    connection.close()
                passed = {k: v for k, v in response.getheaders() if k.lower() not in ("content-length", "connection")}
                length = len(data) if self.command != "HEAD" else int(response.headers.get("Content-Length") or 0)
                if line.spoil is not None and self.command == "GET" and "?" not in self.path:
                    data = line.spoil(data)
                self.answer(response.status, passed, data, length)

            def answer(self, status: int, headers: dict[str, str], body: bytes, length: int) -> None:
                self.close_connection = True
                with contextlib.suppress(OSError):  # who asked may have given up
                    self.send_response_only(status)
                    for name, value in headers.items():
                        if name.lower() != "transfer-encoding":
                            self.send_header(name, value)
                    self.send_header("Content-Length", str(length))
                    self.send_header("Connection", "close")
                    self.end_headers()
                    self.wfile.write(body)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = pass_on  # noqa: N815  # names of http.server

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def hang(self, _method: str = "", _path: str = "") -> None:
        """A fault: nothing is answered until the test releases it."""
        self.released.wait(60)

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextlib.contextmanager
def line_to(server: S3Server) -> Iterator[Line]:
    line = Line(server.url)
    try:
        yield line
    finally:
        line.close()
