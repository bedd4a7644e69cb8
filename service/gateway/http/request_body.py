"""Request bodies: read with limits, unpacked, decoded; nothing reaches a parser that it cannot bear.

A limit holds for the bytes that arrive *and* for what they unpack to, so a small archive of a huge body is refused
while it is still small. The depth of JSON is checked on its brackets, before any parser sees them.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import AsyncIterator
from typing import Any

import msgpack
import numpy as np
import orjson
from starlette.requests import Request

from service.errors import MalformedBody, TooLarge, UnsupportedMediaType
from service.gateway.http import fast_clip_json

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

_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_STEP = np.zeros(256, np.int8)
_STEP[list(b"[{")] = 1
_STEP[list(b"]}")] = -1


def media_type_of(request: Request, *allowed: str) -> str:
    """The form that the body is in, by its content type; JSON where none is named.

    Raises:
        UnsupportedMediaType: Anything that the route does not read, or a character set other than UTF-8.
    """
    given = request.headers.get("content-type", JSON)
    kind, _, parameters = given.partition(";")
    form = MEDIA_TYPES.get(kind.strip().lower())
    charset = re.search(r"charset\s*=\s*\"?([^\s;\"]+)", parameters, re.IGNORECASE)
    if form not in allowed or (charset and charset[1].lower() not in ("utf-8", "utf8")):
        raise UnsupportedMediaType(f"This route reads {' or '.join(allowed)} in UTF-8.")
    return form


async def chunks(request: Request, limit: int, setting: str) -> AsyncIterator[bytes]:
    """The body, unpacked, piece by piece.

    Args:
        request: The request.
        limit: Bytes allowed, before and after unpacking.
        setting: The setting that the limit comes from, for the refusal.

    Raises:
        TooLarge: The body is, or unpacks to, more than the limit.
        UnsupportedMediaType: An encoding other than gzip.
        MalformedBody: The archive is damaged.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip", ""):
        raise UnsupportedMediaType("The only content encoding read here is gzip.")
    refusal = TooLarge(f"The body is larger than {limit} bytes ({setting}).")
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:19]) > limit:
        raise refusal
    unpacker = _GzipDecoder() if "gzip" in encoding else None
    received = unpacked = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise refusal
        for piece in unpacker.feed(chunk) if unpacker else (chunk,):
            unpacked += len(piece)
            if unpacked > limit:
                raise refusal
            if piece:
                yield piece
    if unpacker and not unpacker.complete:
        raise MalformedBody("The gzip body ends too early.")


class _GzipDecoder:
    """Unpacks gzip in pieces of bounded size; several archives may follow each other."""

    def __init__(self) -> None:
        self._unpacker = zlib.decompressobj(wbits=31)

    @property
    def complete(self) -> bool:
        """Whether the last archive ended."""
        return self._unpacker.eof

    def feed(self, data: bytes) -> Any:
        """Pieces of what the data unpacks to."""
        while data:
            if self._unpacker.eof:
                self._unpacker = zlib.decompressobj(wbits=31)
            try:
                piece = self._unpacker.decompress(data, CHUNK)
            except zlib.error:
                raise MalformedBody("The body is not valid gzip.") from None
            data = self._unpacker.unconsumed_tail or (self._unpacker.unused_data if self._unpacker.eof else b"")
            yield piece
            if not data and not self._unpacker.eof:
                # What is held back by the bound on the piece comes out without more input.
                while piece := self._unpacker.decompress(b"", CHUNK):
                    yield piece


async def read(request: Request, limit: int, setting: str) -> bytes:
    """The whole body, unpacked; see ``chunks``."""
    return b"".join([chunk async for chunk in chunks(request, limit, setting)])


async def lines(request: Request, limit: int, setting: str, line_limit: int) -> AsyncIterator[bytes]:
    """The non-empty lines of a body, unpacked, as they arrive; see ``chunks``.

    Raises:
        TooLarge: One line is longer than ``line_limit``.
    """
    parts: list[bytes] = []
    length = 0
    async for chunk in chunks(request, limit, setting):
        *complete, rest = chunk.split(b"\n")
        for tail in complete:
            line = b"".join([*parts, tail]).strip()
            parts, length = [], 0
            if len(line) > line_limit:
                raise TooLarge(f"A line is longer than {line_limit} bytes (max_predict_bytes).")
            if line:
                yield line
        parts.append(rest)
        length += len(rest)
        if length > line_limit:
            raise TooLarge(f"A line is longer than {line_limit} bytes (max_predict_bytes).")
    if line := b"".join(parts).strip():
        yield line


def depth_of(body: bytes) -> int:
    """How deeply the brackets of a JSON text are nested, those in strings left out where they matter."""
    brackets = body.translate(None, _NOT_BRACKETS)
    if not brackets:
        return 0
    return int(_STEP[np.frombuffer(brackets, np.uint8)].cumsum(dtype=np.int32).max())


def check_depth(body: bytes, limit: int) -> None:
    """Refuse JSON that is nested too deeply.

    Raises:
        MalformedBody: It is.
    """
    # Strings may hold brackets of their own; they are cut out only where the quick count is suspicious.
    if depth_of(body) > limit and depth_of(_STRINGS.sub(b"", body)) > limit:
        raise MalformedBody(f"The JSON is nested deeper than {limit} levels (max_json_depth).")


def decode(body: bytes, form: str, max_depth: int, *, where: str = "The body") -> dict[str, Any]:
    """The object that a body holds.

    Args:
        body: JSON or msgpack.
        form: ``JSON``, ``NDJSON`` (one line of it) or ``MSGPACK``.
        max_depth: Levels of nesting allowed.
        where: How an error calls the body.

    Raises:
        MalformedBody: It is empty, damaged, nested too deeply, or not an object.
    """
    if not body:
        raise MalformedBody(f"{where} is empty.")
    if form == MSGPACK:
        document = _decode_msgpack(body, where)
    else:
        check_depth(body, max_depth)
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            # The position only: the message would repeat nothing of the text, but `error.doc` holds all of it.
            raise MalformedBody(f"{where} is not valid JSON: {error.msg} at byte {error.pos}.") from None
    if not isinstance(document, dict):
        raise MalformedBody(f"{where} must be an object.")
    return document


def decode_clip(body: bytes, form: str, max_depth: int) -> dict[str, Any]:
    """``decode`` for the body of one clip: its ``keypoints`` may come as an array already; see ``clip_json``."""
    document = fast_clip_json.read_clip(body, max_depth) if form == JSON else None
    return decode(body, form, max_depth) if document is None else document


def _decode_msgpack(body: bytes, where: str) -> Any:
    try:
        return msgpack.unpackb(body, raw=False, strict_map_key=True)
    except Exception as error:  # msgpack raises ValueError, its own family, and whatever an odd extension type provokes
        raise MalformedBody(f"{where} is not valid msgpack ({type(error).__name__}).") from None
