"""Request bodies: read with limits, unpacked and decoded in time and memory linear in their size.

A limit holds for the bytes that arrive and for what they unpack to. Depth and number of containers are checked before
JSON is parsed, and while msgpack is decoded. Nothing here checks the API key: routes do that before they call these
functions, except that a small uncompressed body may be read (not decoded) first.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import orjson
from starlette.requests import Request

from service.errors import InvalidRequest, MalformedBody, TooLarge, UnsupportedMediaType
from service.gateway.http import fast_clip_json
from service.gateway.http.json_depth import scan
from service.gateway.http.msgpack_body import decode_msgpack

JSON = "application/json"
MSGPACK = "application/msgpack"
NDJSON = "application/x-ndjson"
MEDIA_TYPES = {
    JSON: JSON,
    MSGPACK: MSGPACK,
    "application/x-msgpack": MSGPACK,
    "application/vnd.msgpack": MSGPACK,
    NDJSON: NDJSON,
    "application/ndjson": NDJSON,
    "application/jsonl": NDJSON,
}
CHUNK = 1 << 16
YIELD_BYTES = 1 << 20  # unpacked between two turns of the event loop
MAX_MEMBERS = 1024  # archives that may follow each other in one gzip body
MAX_RATIO = 250  # of unpacked to packed bytes, beyond the first RATIO_FREE_BYTES; keypoints reach about 20
RATIO_FREE_BYTES = 16 << 20
MAX_FIELDS = 64  # of the outermost object
MAX_ITEMS = 16_384  # of one msgpack array, unless a limit of the service is higher
BYTES_PER_CONTAINER = 4  # of JSON: the shortest useful list is [0,0]
FREE_CONTAINERS = 1024


def media_type_of(request: Request, *allowed: str) -> str:
    """Media type of the body, from its Content-Type; JSON if the header is absent.

    Raises:
        UnsupportedMediaType: The route does not read this type, or the character set is not UTF-8.
    """
    given = request.headers.get("content-type", JSON)
    kind, _, parameters = given.partition(";")
    media_type = MEDIA_TYPES.get(kind.strip().lower())
    charset = re.search(r"charset\s*=\s*\"?([^\s;\"]+)", parameters, re.IGNORECASE)
    if media_type not in allowed or (charset and charset[1].lower() not in ("utf-8", "utf8")):
        raise UnsupportedMediaType(f"This route reads {' or '.join(allowed)} in UTF-8.")
    return media_type


async def chunks(request: Request, limit: int, setting: str) -> AsyncIterator[bytes]:
    """The body, unpacked, in pieces of at most ``CHUNK`` bytes where it was compressed.

    Args:
        request: The request.
        limit: Bytes allowed, before and after unpacking.
        setting: Name of the setting behind the limit, for the error message.

    Raises:
        TooLarge: The body is, or unpacks to, more than the limit; or its gzip members or ratio exceed theirs.
        UnsupportedMediaType: An encoding other than gzip.
        MalformedBody: The gzip data is damaged.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip", ""):
        raise UnsupportedMediaType("The only content encoding read here is gzip.")
    refusal = TooLarge(f"The body is larger than {limit} bytes ({setting}).")
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:19]) > limit:
        raise refusal
    decoder = _GzipDecoder() if "gzip" in encoding else None
    received = unpacked = unyielded = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise refusal
        for piece in decoder.feed(chunk) if decoder else (chunk,):
            unpacked += len(piece)
            unyielded += len(piece)
            if unpacked > limit:
                raise refusal
            if unpacked > RATIO_FREE_BYTES and unpacked > MAX_RATIO * received:
                raise TooLarge(f"The gzip body unpacks to more than {MAX_RATIO} times its size.")
            if piece:
                yield piece
            if unyielded > YIELD_BYTES:
                unyielded = 0
                await asyncio.sleep(0)
    if decoder and not decoder.complete:
        raise MalformedBody("The gzip body ends too early.")


class _GzipDecoder:
    """Unpacks gzip in pieces of bounded size; a body may hold several members, up to ``MAX_MEMBERS``."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(wbits=31)
        self._members = 1

    @property
    def complete(self) -> bool:
        """Whether the last member ended."""
        return self._decoder.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Pieces of what the data unpacks to.

        Raises:
            MalformedBody: The data is not gzip.
            TooLarge: There are too many members.
        """
        # In blocks: zlib copies what it has not consumed yet for every piece that it gives.
        for begin in range(0, len(data), CHUNK):
            yield from self._feed_block(data[begin : begin + CHUNK])

    def _feed_block(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._decoder.eof:
                self._members += 1
                if self._members > MAX_MEMBERS:
                    raise TooLarge(f"The gzip body has more than {MAX_MEMBERS} members.")
                self._decoder = zlib.decompressobj(wbits=31)
            piece = self._decompress(data)
            data = self._decoder.unconsumed_tail or (self._decoder.unused_data if self._decoder.eof else b"")
            yield piece
            if not data and not self._decoder.eof:
                # Output that the bound on the piece held back comes without more input.
                while piece := self._decompress(b""):
                    yield piece

    def _decompress(self, data: bytes) -> bytes:
        try:
            return self._decoder.decompress(data, CHUNK)
        except zlib.error:
            raise MalformedBody("The body is not valid gzip.") from None


async def read(request: Request, limit: int, setting: str) -> bytes:
    """The whole body, unpacked; see ``chunks``."""
    return b"".join([chunk async for chunk in chunks(request, limit, setting)])


async def lines(
    request: Request, limit: int, setting: str, line_limit: int, max_lines: int = 1 << 20
) -> AsyncIterator[bytes]:
    """The non-empty lines of a body, unpacked, as they arrive; see ``chunks``.

    Raises:
        TooLarge: A line is longer than ``line_limit``, or there are more than ``max_lines``, empty ones included.
    """
    parts: list[bytes] = []
    length = count = 0
    async for chunk in chunks(request, limit, setting):
        *complete, rest = chunk.split(b"\n")
        count += len(complete)
        if count > max_lines:
            raise TooLarge(f"The body has more than {max_lines} lines.")
        for tail in complete:
            line = b"".join([*parts, tail]).strip()
            parts, length = [], 0
            if len(line) > line_limit:
                raise _line_too_long(line_limit)
            if line:
                yield line
        parts.append(rest)
        length += len(rest)
        if length > line_limit:
            raise _line_too_long(line_limit)
    if line := b"".join(parts).strip():
        yield line


def _line_too_long(limit: int) -> TooLarge:
    return TooLarge(f"A line is longer than {limit} bytes (max_predict_bytes).")


def check_depth(body: bytes, limit: int, where: str = "The body") -> None:
    """Refuse JSON that is nested too deeply, or that consists of little but brackets.

    Raises:
        TooLarge: More than ``limit`` levels, or more than one list or object per ``BYTES_PER_CONTAINER`` bytes.
    """
    shape = scan(body, limit)
    if shape.depth > limit:
        raise TooLarge(f"{where} is JSON nested deeper than {limit} levels (max_json_depth).")
    if shape.containers > FREE_CONTAINERS + len(body) // BYTES_PER_CONTAINER:
        raise TooLarge(f"{where} holds more than one list or object per {BYTES_PER_CONTAINER} bytes.")


def decode(
    body: bytes, media_type: str, max_depth: int, *, where: str = "The body", max_items: int = MAX_ITEMS
) -> dict[str, Any]:
    """The object that a body holds.

    Args:
        body: JSON or msgpack.
        media_type: ``JSON``, ``NDJSON`` (one line of it) or ``MSGPACK``.
        max_depth: Levels of nesting allowed.
        where: Name of the body in error messages.
        max_items: Items of one msgpack array allowed.

    Raises:
        MalformedBody: The body is empty, damaged, or not an object.
        TooLarge: It is nested too deeply, or holds too many containers for its size.
        InvalidRequest: The object has more than ``MAX_FIELDS`` fields.
    """
    if not body:
        raise MalformedBody(f"{where} is empty.")
    if media_type == MSGPACK:
        document = decode_msgpack(body, max_depth, max_items, where)
    else:
        check_depth(body, max_depth, where)
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            # The position only: `error.doc` holds the whole text.
            raise MalformedBody(f"{where} is not valid JSON: {error.msg} at byte {error.pos}.") from None
    if not isinstance(document, dict):
        advice = " Files of pose tools are read by `skeleton-prompt convert`." if isinstance(document, list) else ""
        raise MalformedBody(f"{where} must be an object.{advice}")
    if len(document) > MAX_FIELDS:
        message = f"{len(document)} fields; at most {MAX_FIELDS} are allowed"
        row = {"loc": "", "rule": "too_many_fields", "message": message}
        raise InvalidRequest(f"{where} has {message}.", errors=[row])
    return document


def decode_clip(body: bytes, media_type: str, max_depth: int, *, max_items: int = MAX_ITEMS) -> dict[str, Any]:
    """``decode`` for the body of one clip: its ``keypoints`` may come as an array; see ``fast_clip_json``."""
    document = fast_clip_json.read_clip(body, max_depth) if media_type == JSON else None
    return decode(body, media_type, max_depth, max_items=max_items) if document is None else document
