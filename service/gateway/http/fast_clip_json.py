"""A clip's JSON read without making Python objects of its numbers, where it is as regular as nearly all clips are.

simdjson parses the text and copies the numbers of an array into one buffer, but says nothing of the lists in it. That
these are regular is seen from the text: without anything but brackets and commas, it has to be the text of such an
array. What is irregular, escaped, wrong or unusual in any way is left to the reader that can say what is wrong with it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import simdjson

KEYPOINTS = "keypoints"
_NAME = b'"keypoints"'
_ENCODING = b'"encoding"'  # of numbers that are no lists
_NOT_STRUCTURE = bytes(set(range(256)) - set(b"[]{},"))
_MOST_LEVELS = 4  # T, P, J, C
_MOST_FIELDS = 64  # simdjson finds a field by looking at all before it


def read_clip(body: bytes, max_depth: int) -> dict[str, Any] | None:
    """The object that a JSON text holds, its ``keypoints`` as an array ``(T, J, C)`` or ``(T, P, J, C)`` of float64.

    Args:
        body: The text.
        max_depth: Levels of nesting allowed.

    Returns:
        None unless the text is valid, its keypoints are regular nested lists of numbers, and it is certainly not
        nested too deeply; everything else in it is as ``orjson.loads`` reads it.
    """
    # Without escapes, a name in quotes that occurs once is the name that the parser finds.
    if b"\\" in body or body.count(_NAME) != 1 or _ENCODING in body or body.startswith(b"\xef"):
        return None
    try:
        parsed = simdjson.Parser().parse(body)
        if not isinstance(parsed, simdjson.Object):
            return None
        names = list(parsed.keys())
        if len(names) > _MOST_FIELDS or KEYPOINTS not in names or len(set(names)) != len(names):
            return None
        keypoints = parsed[KEYPOINTS]
        if not isinstance(keypoints, simdjson.Array):
            return None
        values = np.frombuffer(keypoints.as_buffer(of_type="d"))
        shape = _shape(keypoints)
        if shape is None or not _is_regular(body, shape, len(values), max_depth):
            return None
        document = {name: _plain(parsed[name]) for name in names if name != KEYPOINTS}
    except (ValueError, TypeError, RuntimeError):  # not JSON, no number in the keypoints, whole numbers beyond 64 bits
        return None
    return document | {KEYPOINTS: values.reshape(shape)}


def _shape(keypoints: simdjson.Array) -> tuple[int, ...] | None:
    """The lengths of the first of the nested lists; None where these are no keypoints."""
    shape: list[int] = []
    node: Any = keypoints
    while isinstance(node, simdjson.Array):
        if not len(node) or len(shape) == _MOST_LEVELS:
            return None
        shape.append(len(node))
        node = node[0]
    return tuple(shape) if len(shape) >= _MOST_LEVELS - 1 else None


def _is_regular(body: bytes, shape: tuple[int, ...], numbers: int, max_depth: int) -> bool:
    """Whether the keypoints are nested lists of this shape, and the rest is so small that it cannot be deep."""
    if int(np.prod(shape)) != numbers:
        return False
    begin = body.index(_NAME)
    before = body[:begin].translate(None, _NOT_STRUCTURE)
    rest = body[begin:].translate(None, _NOT_STRUCTURE)
    expected = _structure(shape)
    opened = sum(part.count(bracket) for part in (before, rest[len(expected) :]) for bracket in b"[{")
    return rest.startswith(expected) and opened <= max_depth and len(shape) + 1 <= max_depth


def _structure(shape: tuple[int, ...]) -> bytes:
    """Brackets and commas of nested lists of numbers."""
    inner = b"," * (shape[-1] - 1)
    for length in shape[:-1][::-1]:
        inner = b",".join([b"[%b]" % inner] * length)
    return b"[%b]" % inner


def _plain(value: Any) -> Any:
    if isinstance(value, simdjson.Object):
        return value.as_dict()
    return value.as_list() if isinstance(value, simdjson.Array) else value
