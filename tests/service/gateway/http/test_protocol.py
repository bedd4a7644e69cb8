"""A connection costs the service little, whatever its client sends or leaves unsent."""

import asyncio
import json
import time

import pytest
import uvicorn

from service.gateway.http.protocol import BoundedHttpProtocol, ConnectionLimits

LIMITS = ConnectionLimits(header_bytes=4096, header_seconds=0.3, body_rate=100, connections=20)


async def application(scope, receive, send):
    """Answers with the number of bytes of the body."""
    if scope["type"] != "http":
        return
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    body = str(size).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


class Protocol(BoundedHttpProtocol):
    limits = LIMITS
    body_check_s = 0.1


@pytest.fixture
def asked():
    """Runs a coroutine function with the port of a server on the same loop."""

    def run(client):
        async def both():
            config = uvicorn.Config(application, port=0, http=Protocol, lifespan="off", log_config=None, ws="none")
            server = uvicorn.Server(config)
            server.install_signal_handlers = lambda: None
            serving = asyncio.create_task(server.serve())
            while not server.started:
                await asyncio.sleep(0.01)
            port = server.servers[0].sockets[0].getsockname()[1]
            try:
                return await client(port)
            finally:
                server.should_exit = True
                server.force_exit = True
                await serving

        return asyncio.run(both())

    return run


async def exchange(port, *pieces, pause=0.0, seconds=5.0):
    """What comes back for pieces sent one after the other, until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
        return await asyncio.wait_for(reader.read(), seconds)
    except ConnectionError:
        return b""
    finally:
        writer.close()


def problem(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    document = json.loads(body)
    assert set(document) >= {"type", "title", "status", "detail", "code", "errors", "request_id"}
    assert head.startswith(b"HTTP/1.1 %d " % document["status"])
    return document["code"]


GET = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n"


def test_an_ordinary_request_is_answered(asked):
    answer = asked(lambda port: exchange(port, GET, b"content-length: 5\r\n\r\nhel", b"lo", pause=0.05))
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"\r\n\r\n5")


@pytest.mark.parametrize(
    "headers",
    [
        b"a: " + b"x" * 5000 + b"\r\n\r\n",
        b"a: " + b"x" * 3_000_000,  # and never ended
        b"".join(b"h%d: %s\r\n" % (n, b"x" * 100) for n in range(60)) + b"\r\n",
        b"a: b\r\n" * 200 + b"\r\n",
    ],
    ids=["one", "endless", "many", "short"],
)
def test_too_many_bytes_or_headers_are_refused(asked, headers):
    answer = asked(lambda port: exchange(port, GET, headers, pause=0.01))
    assert answer == b"" or problem(answer) == "headers_too_large"  # a reset may overtake the answer


def test_a_long_address_is_refused(asked):
    answer = asked(lambda port: exchange(port, b"GET /" + b"x" * 8000 + b" HTTP/1.1\r\nhost: a\r\n\r\n"))
    assert problem(answer) == "headers_too_large"


def test_what_is_not_http_is_answered_with_a_problem(asked):
    for text in (
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"NO SUCH\r\n\r\n",
    ):
        assert problem(asked(lambda port, text=text: exchange(port, text))) == "malformed_body"


def test_headers_that_never_end_are_given_up(asked):
    async def drip(port):
        began = time.monotonic()
        answer = await exchange(port, GET, *[b"x"] * 40, pause=0.02)
        return answer, time.monotonic() - began

    answer, took = asked(drip)
    assert answer == b"" or problem(answer) == "request_timeout"
    assert took < 2


def test_a_connection_that_asks_nothing_is_closed(asked):
    assert asked(lambda port: exchange(port)) == b""


def test_a_body_that_drips_is_given_up_and_one_that_flows_is_not(asked):
    head = GET + b"content-length: 400\r\n\r\n"
    slow = asked(lambda port: exchange(port, head, *[b"x"] * 30, pause=0.02))
    assert slow == b"" or problem(slow) == "request_timeout"
    assert asked(lambda port: exchange(port, head, *[b"x" * 20] * 20, pause=0.02)).endswith(b"400")


def test_connections_beyond_the_limit_are_refused_and_the_others_served(asked):
    async def crowd(port):
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(LIMITS.connections)]
        refused = await exchange(port)
        held[0][1].write(GET + b"\r\n")
        served = await held[0][0].read()
        for _, writer in held:
            writer.close()
        return refused, served

    refused, served = asked(crowd)
    assert problem(refused) == "overloaded"
    assert served.startswith(b"HTTP/1.1 200")
