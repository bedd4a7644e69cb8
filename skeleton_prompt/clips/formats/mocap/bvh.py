"""Biovision Hierarchy files: a tree of joints with any channels, and one line of numbers per frame.

A joint's channels are applied in the order in which they are written, the first outermost: ``Zrotation Xrotation
Yrotation`` is ``Rz @ Rx @ Ry`` (Meredith and Maddock, "Motion capture file formats explained", 2001), in degrees.
The format says neither unit nor up axis; ``canonical`` finds them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from skeleton_prompt.clips.formats.mocap.kinematics import Motion, Skeleton, product
from skeleton_prompt.clips.formats.mocap.reading import (
    MAX_FRAMES,
    MAX_JOINTS,
    Array,
    MotionFileError,
    number,
    read_lines,
)

_CHANNELS = {f"{axis}{kind}".lower() for axis in "XYZ" for kind in ("rotation", "position")}
MIN_FPS, MAX_FPS = 5.0, 1000.0


@dataclass
class _Hierarchy:
    names: list[str] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    offsets: list[list[float]] = field(default_factory=list)
    channels: list[list[str]] = field(default_factory=list)

    def add(self, name: str, parent: int) -> int:
        self.names.append(name)
        self.parents.append(parent)
        self.offsets.append([0.0, 0.0, 0.0])
        self.channels.append([])
        return len(self.names) - 1


def read_bvh(path: Path) -> Motion:
    """Read a BVH file.

    Raises:
        MotionFileError: Naming the line, if the file is malformed or cut off.
    """
    lines = read_lines(path)
    start = next((i for i, line in enumerate(lines) if line.strip().upper().startswith("MOTION")), None)
    if start is None:
        raise MotionFileError(path, "has no MOTION section", len(lines))
    hierarchy = _read_hierarchy(path, lines[:start])
    skeleton = Skeleton(tuple(hierarchy.names), tuple(hierarchy.parents), np.array(hierarchy.offsets))
    values, fps = _read_frames(path, lines, start, sum(map(len, hierarchy.channels)))
    first = np.cumsum([0, *map(len, hierarchy.channels)])

    def columns(joint: int, kind: str) -> tuple[str, Array]:
        chosen = [(c[0], first[joint] + i) for i, c in enumerate(hierarchy.channels[joint]) if c.endswith(kind)]
        return "".join(axis for axis, _ in chosen), values[:, [column for _, column in chosen]]

    def rotation(joint: int) -> Array:
        axes, angles = columns(joint, "rotation")
        return product(axes, np.radians(angles))

    def place(joint: int) -> Array:
        axes, moved = columns(joint, "position")
        # Position channels replace the offset, axis by axis; a file may give some axes only.
        result = np.repeat(skeleton.offsets[joint][None], len(values), axis=0)
        for index, axis in enumerate(axes):
            result[:, "xyz".index(axis)] = moved[:, index]
        return result

    return Motion(skeleton, len(values), fps, rotation, place)


def _statements(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Lines of the hierarchy with their numbers; braces stand alone, wherever the file put them."""
    for index, line in enumerate(lines):
        for part in re.split(r"([{}])", line):
            if part.strip():
                yield index + 1, part.strip()


def _read_hierarchy(path: Path, lines: list[str]) -> _Hierarchy:
    result = _Hierarchy()
    opened: list[int] = []
    current = -1  # the joint whose offset and channels come next
    line = 1
    for line, statement in _statements(lines):
        keyword, _, rest = statement.partition(" ") if " " in statement else statement.partition("\t")
        match keyword.upper():
            case "HIERARCHY":
                pass
            case "ROOT" | "JOINT" | "END":
                current = result.add(*_heading(path, line, keyword.upper(), rest.strip(), result, opened))
                if len(result.names) > MAX_JOINTS:
                    raise MotionFileError(path, f"more than {MAX_JOINTS} joints", line)
            case "{":
                if current < 0 or current in opened:
                    raise MotionFileError(path, "'{' that belongs to no joint", line)
                opened.append(current)
            case "}":
                if not opened:
                    raise MotionFileError(path, "'}' without its '{'", line)
                opened.pop()
            case "OFFSET" | "CHANNELS" if not opened:
                raise MotionFileError(path, f"{keyword} outside of a joint", line)
            case "OFFSET":
                result.offsets[opened[-1]] = _offset(path, line, rest.split())
            case "CHANNELS":
                result.channels[opened[-1]] = _channels(path, line, rest.split())
            case _:
                raise MotionFileError(path, f"{statement[:40]!r} is not a part of a hierarchy", line)
    if opened:
        raise MotionFileError(path, f"{len(opened)} '}}' are missing before MOTION", line)
    if not result.names:
        raise MotionFileError(path, "has no ROOT", line)
    return result


def _heading(path: Path, line: int, keyword: str, name: str, known: _Hierarchy, opened: list[int]) -> tuple[str, int]:
    if keyword == "ROOT":
        if known.names:
            raise MotionFileError(path, "a second ROOT; one skeleton per file can be read", line)
        return name or "root", -1
    if not opened:
        raise MotionFileError(path, f"{keyword} outside of a ROOT", line)
    return (f"{known.names[opened[-1]]}_end" if keyword == "END" else name), opened[-1]


def _offset(path: Path, line: int, words: list[str]) -> list[float]:
    if len(words) != 3:
        raise MotionFileError(path, f"OFFSET needs 3 numbers, not {len(words)}", line)
    return [number(path, line, word) for word in words]


def _channels(path: Path, line: int, words: list[str]) -> list[str]:
    names = [word.lower() for word in words[1:]]
    if not words or words[0] != str(len(names)):
        raise MotionFileError(
            path, f"CHANNELS declares {words[0] if words else 'nothing'} and names {len(names)}", line
        )
    if unknown := [word for word in names if word not in _CHANNELS]:
        raise MotionFileError(path, f"unknown channel {unknown[0][:40]!r}", line)
    if len(set(names)) < len(names):
        raise MotionFileError(path, "a channel is named twice", line)
    return names


def _read_frames(path: Path, lines: list[str], start: int, channels: int) -> tuple[Array, float]:
    header = [(i, lines[i].strip()) for i in range(start + 1, min(start + 6, len(lines))) if lines[i].strip()][:2]
    found = [re.fullmatch(r"(?i)(frames|frame time)\s*:\s*(\S+)", text) for _, text in header]
    if len(header) < 2 or not found[0] or not found[1]:
        raise MotionFileError(path, "MOTION must be followed by 'Frames:' and 'Frame Time:'", start + 1)
    declared = number(path, header[0][0] + 1, found[0].group(2))
    seconds = number(path, header[1][0] + 1, found[1].group(2))
    if not 0 < declared <= MAX_FRAMES or declared != int(declared):
        raise MotionFileError(path, f"{found[0].group(2)} frames; 1 to {MAX_FRAMES} can be read", header[0][0] + 1)
    if not 1 / MAX_FPS <= seconds <= 1 / MIN_FPS:
        raise MotionFileError(
            path, f"a frame time of {seconds} s; it must be {MIN_FPS} to {MAX_FPS} fps", header[1][0] + 1
        )
    if not channels:
        raise MotionFileError(path, "the hierarchy has no channels", start + 1)
    return _table(path, lines, header[1][0] + 1, int(declared), channels), 1 / seconds


def _table(path: Path, lines: list[str], first: int, frames: int, channels: int) -> Array:
    rows: list[Array] = []
    for index in range(first, len(lines)):
        words = lines[index].split()
        if not words:
            continue
        if len(rows) == frames:
            raise MotionFileError(path, f"more lines of numbers than the {frames} frames it declares", index + 1)
        if len(words) != channels:
            raise MotionFileError(path, f"{len(words)} numbers where the joints have {channels} channels", index + 1)
        try:
            row = np.array(words, dtype=np.float64)
        except ValueError:
            row = np.array([number(path, index + 1, word) for word in words])
        rows.append(row)
    if len(rows) < frames:
        raise MotionFileError(path, f"declares {frames} frames and has {len(rows)}: it is cut off", len(lines))
    table = np.stack(rows)
    bad = np.argwhere(~np.isfinite(table))
    if len(bad):
        raise MotionFileError(path, f"channel {bad[0][1] + 1} of frame {bad[0][0] + 1} is not a finite number")
    return table
