"""Nesting depth and container count of a JSON text, found without parsing it.

The scan is linear in the text and needs a few bytes of memory per byte of one block, whatever the text holds: strings
are recognised by the parity of their quotes, so no regular expression backtracks over them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BLOCK = 1 << 18  # bytes looked at together: bounds the scan's memory

_QUOTE = ord('"')
_OTHERS = bytes(set(range(256)) - set(b'[]{}"'))
_STEP = np.zeros(256, np.int8)
_STEP[list(b"[{")] = 1
_STEP[list(b"]}")] = -1


@dataclass(frozen=True)
class JsonShape:
    """Structure of a JSON text.

    Attributes:
        depth: Deepest nesting of lists and objects.
        containers: Number of lists and objects.
    """

    depth: int
    containers: int


def scan(body: bytes, max_depth: int) -> JsonShape:
    """Measure a JSON text; brackets inside strings do not count.

    Args:
        body: The text, which need not be valid.
        max_depth: The scan ends as soon as the depth exceeds this.
    """
    depth = deepest = containers = 0
    in_string = False
    carried = b""
    for begin in range(0, len(body), BLOCK):
        block = carried + body[begin : begin + BLOCK]
        carried = b""
        if b"\\" in block:
            if (len(block) - len(block.rstrip(b"\\"))) % 2:  # the character that it escapes is in the next block
                block, carried = block[:-1], b"\\"
            block = block.replace(b"\\\\", b"").replace(b'\\"', b"")
        marks = np.frombuffer(block.translate(None, _OTHERS), np.uint8)
        if not len(marks):
            continue
        # uint8 wraps at 256, which leaves the parity as it is.
        quoted = (np.cumsum(marks == _QUOTE, dtype=np.uint8) + in_string) & 1
        in_string = bool(quoted[-1])
        steps = _STEP[marks]
        steps[quoted == 1] = 0
        level = np.cumsum(steps, dtype=np.int32)
        containers += int(np.count_nonzero(steps == 1))
        deepest = max(deepest, depth + int(level.max()))
        depth += int(level[-1])
        if deepest > max_depth:
            break
    return JsonShape(deepest, containers)
