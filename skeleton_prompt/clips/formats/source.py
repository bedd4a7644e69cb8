"""Bounded reading of one file: raw bytes, text in any usual encoding, and JSON as tools write it."""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from skeleton_prompt.clips.formats.errors import FormatError

MAX_FILE_BYTES = 1 << 30  # of one file, after decompression
HEAD_BYTES = 4096  # looked at by the detection
MAX_JSON_DEPTH = 64  # deeper nesting than any pose file has
_BOMS = (  # UTF-32 before UTF-16: their little-endian marks begin alike
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Source:
    """One file, read at most once. ``.gz`` is decompressed on the fly.

    Attributes:
        path: the file.
        suffix: its lower-case suffix, without ``.gz``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        suffixes = [suffix.lower() for suffix in path.suffixes]
        self._gzipped = bool(suffixes) and suffixes[-1] == ".gz"
        if self._gzipped:
            suffixes.pop()
        self.suffix = suffixes[-1] if suffixes else ""

    @property
    def stem(self) -> str:
        """File name without its suffix (and ``.gz``)."""
        name = self.path.name[:-3] if self._gzipped else self.path.name
        return name[: -len(self.suffix)] if self.suffix else name

    @cached_property
    def data(self) -> bytes:
        """The whole file.

        Raises:
            FormatError: the file is missing, unreadable, or larger than ``MAX_FILE_BYTES``.
        """
        try:
            if self.path.stat().st_size > MAX_FILE_BYTES:
                raise FormatError(self.path, f"larger than {MAX_FILE_BYTES >> 20} MiB; cut the recording into parts")
            if not self._gzipped:
                return self.path.read_bytes()
            with gzip.open(self.path) as stream:
                data = stream.read(MAX_FILE_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise FormatError(self.path, reason) from error
        if len(data) > MAX_FILE_BYTES:
            raise FormatError(self.path, f"larger than {MAX_FILE_BYTES >> 20} MiB once unpacked")
        return data

    @cached_property
    def head(self) -> bytes:
        """The first bytes, enough for the detection of binary formats and text headers."""
        return self.data[:HEAD_BYTES]

    @cached_property
    def text(self) -> str:
        """The file as text: UTF-8, or UTF-16/32 by byte order mark, or Windows-1252 as spreadsheets write it.

        Raises:
            FormatError: the file is not text.
        """
        return decode_text(self.data, self.path)

    @property
    def lines(self) -> list[str]:
        """Lines of the text, without line ends."""
        return self.text.splitlines()

    @cached_property
    def json(self) -> Any:
        """The file as JSON; NaN and Infinity, which Python writes, are accepted as floats.

        Raises:
            FormatError: not JSON, or nested too deeply.
        """
        if self.suffix in (".ndjson", ".jsonl"):
            return _parse_lines(self.text, self.path)
        try:
            return parse_json(self.text, self.path)
        except FormatError as error:
            # Some programs write JSON lines into .json; if that fails too, the first message is the helpful one.
            lines = [line for line in self.text.splitlines() if line.strip()]
            if len(lines) < 2 or not all(line.lstrip().startswith(("{", "[")) for line in lines):
                raise
            try:
                return _parse_lines(self.text, self.path)
            except FormatError:
                raise error from None


def _parse_lines(text: str, place: Path) -> list[Any]:
    """JSON lines as a list; empty lines are left out."""
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                rows.append(parse_json(line, place))
            except FormatError as error:
                raise FormatError(place, f"line {number}: {error.reason}") from None
    if not rows:
        raise FormatError(place, "the file is empty")
    return rows


def decode_text(data: bytes, place: Path | str) -> str:
    """Text of any usual encoding, without the byte order mark.

    Raises:
        FormatError: the bytes are no text.
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            try:
                return data.decode("utf-8-sig" if encoding == "utf-8" else encoding)
            except UnicodeDecodeError as error:
                raise FormatError(
                    place, f"not {encoding.upper()} text as its first bytes say ({error.reason})"
                ) from None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        if b"\0" in data[:HEAD_BYTES]:
            line = data.count(b"\n", 0, error.start) + 1
            raise FormatError(place, f"line {line}: byte 0x{data[error.start]:02x} is not text") from None
        return data.decode("cp1252", "replace")


def parse_json(text: str, place: Path | str) -> Any:
    """Parse JSON, with NaN and Infinity as Python writes them.

    Raises:
        FormatError: not JSON, nested deeper than ``MAX_JSON_DEPTH``, or a NUL-padded or cut-off file.
    """
    if not text.strip():
        raise FormatError(place, "the file is empty")
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if not any(word in text for word in ("NaN", "Infinity")):
            raise FormatError(place, f"not valid JSON: {error}") from None
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as second:
            raise FormatError(place, f"not valid JSON: {second}") from None
    if _deeper_than(value, MAX_JSON_DEPTH):
        raise FormatError(place, f"JSON nested deeper than {MAX_JSON_DEPTH} levels is not a pose file")
    return value


def _deeper_than(value: Any, limit: int) -> bool:
    """Whether containers are nested deeper than the limit along the first elements of each level."""
    level = [value]
    for _ in range(limit):
        level = [
            child
            for node in level
            for child in (list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else ())
            if isinstance(child, (dict, list))
        ]
        if not level:
            return False
        # One level of a large file may hold millions of lists; numbers end them, so a sample is enough.
        level = level[:256]
    return True
