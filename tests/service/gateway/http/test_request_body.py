"""Bodies are read with limits, whatever they are packed in."""

import asyncio
import gzip
import json

import msgpack
import pytest
from starlette.requests import Request

from service.errors import MalformedBody, TooLarge, UnsupportedMediaType
from service.gateway.http import json_depth, request_body


def request(body: bytes = b"", piece: int = 7, **headers: str) -> Request:
    """A request whose body arrives in small pieces."""
    messages = [
        {"type": "http.request", "body": body[i : i + piece], "more_body": True} for i in range(0, len(body), piece)
    ]
    messages.append({"type": "http.request", "body": b"", "more_body": False})
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]

    async def receive():
        return messages.pop(0)

    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw, "query_string": b""}, receive)


def read(body: bytes, limit: int = 1000, **headers: str) -> bytes:
    return asyncio.run(request_body.read(request(body, **headers), limit, "max_test_bytes"))


def lines(body: bytes, limit: int = 1000, line_limit: int = 100, **headers: str) -> list[bytes]:
    async def collect():
        return [
            line async for line in request_body.lines(request(body, **headers), limit, "max_test_bytes", line_limit)
        ]

    return asyncio.run(collect())


def test_a_body_comes_out_as_it_was_sent_packed_or_not():
    assert read(b"x" * 100) == b"x" * 100
    assert read(gzip.compress(b"y" * 900), content_encoding="gzip") == b"y" * 900
    two = gzip.compress(b"one ") + gzip.compress(b"two")
    assert read(two, content_encoding="gzip") == b"one two"


@pytest.mark.parametrize("size", [1, 65535, 65536, 65537, 300_000])
def test_archives_of_any_size_are_unpacked_whole(size):
    body = bytes(i * i % 251 for i in range(size))
    assert read(gzip.compress(body), limit=size + 1000, piece=1000, content_encoding="gzip") == body


def test_the_limit_holds_before_and_after_unpacking():
    with pytest.raises(TooLarge, match="max_test_bytes"):
        read(b"x" * 1001)
    with pytest.raises(TooLarge):
        read(b"", content_length="1001")
    bomb = gzip.compress(bytes(10_000_000))
    assert len(bomb) < 10_000
    with pytest.raises(TooLarge):
        read(bomb, limit=20_000, content_encoding="gzip")


def test_a_damaged_archive_is_a_malformed_body():
    packed = gzip.compress(b"hello" * 10)
    for damaged in (packed[:-4], b"not gzip at all", packed[:12] + b"\xff" * 20):
        with pytest.raises(MalformedBody):
            read(damaged, content_encoding="gzip")


def test_an_encoding_that_is_not_read_is_refused():
    with pytest.raises(UnsupportedMediaType):
        read(b"x", content_encoding="br")


def test_lines_are_told_apart_wherever_the_network_cuts_them():
    body = b'{"a":1}\n\n{"b":2}\r\n   \n{"c":3}'
    assert lines(body) == [b'{"a":1}', b'{"b":2}', b'{"c":3}']
    assert lines(gzip.compress(body), content_encoding="gzip") == lines(body)


def test_one_endless_line_is_refused_while_it_arrives():
    with pytest.raises(TooLarge, match="line"):
        lines(b"x" * 300)
    with pytest.raises(TooLarge, match="line"):
        lines(b"x" * 101 + b"\n")


def test_the_depth_of_json_is_known_before_it_is_parsed():
    assert json_depth.scan(b"{}", 16) == json_depth.JsonShape(1, 1)
    assert json_depth.scan(json.dumps({"a": [[[1, 2], [3]]]}).encode(), 16) == json_depth.JsonShape(4, 5)
    request_body.check_depth(b'{"label": "[[[[[[[[[[[[[["}', 3)
    request_body.check_depth(b'{"label": "\\"[[[[[[[["}', 3)
    for deep in (b"[" * 100_000, b"[" * 50 + b"]" * 50, b'{"a":' * 20 + b"1" + b"}" * 20):
        with pytest.raises(TooLarge, match="max_json_depth"):
            request_body.check_depth(deep, 16)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"{}{}", b"NaN", b'{"a": NaN}', b'{"a": 1e999}', b'"\\ud800"', b"\xff"]
)
def test_what_is_not_an_object_of_strict_json_is_malformed(body):
    with pytest.raises(MalformedBody):
        request_body.decode(body, request_body.JSON, 16)


@pytest.mark.parametrize(
    "body",
    [b"", b"\xc1", msgpack.packb([1]), msgpack.packb({1: 2}), b"\x81\xa1a", b"\x91" * 5000, b"\x81\xa1a\xa2\xed\xa0",
     b"\xdf\xff\xff\xff\xff", b"\x81\xa1a\xd7\xff\xff\xff\xff\xff\xff\xff\xff\xff"],
)  # fmt: skip
def test_what_is_not_an_object_of_msgpack_is_malformed(body):
    with pytest.raises(MalformedBody):
        request_body.decode(body, request_body.MSGPACK, 16)


def test_the_form_is_read_from_the_content_type():
    assert (
        request_body.media_type_of(request(content_type="Application/JSON; charset=UTF-8"), request_body.JSON)
        == request_body.JSON
    )
    assert request_body.media_type_of(request(), request_body.JSON) == request_body.JSON
    for wrong in ("text/plain", "application/x-ndjson", "application/json; charset=latin-1", ""):
        with pytest.raises(UnsupportedMediaType):
            request_body.media_type_of(request(content_type=wrong), request_body.JSON)
