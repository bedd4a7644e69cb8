"""Acclaim skeletons (ASF) and motions (AMC), as the CMU database and HDM05 have them.

A bone starts where its parent ends, points along ``direction`` for ``length`` units, and turns about axes of its own:
with C the rotation of its ``axis`` line and M that of the frame, its rotation relative to the parent is ``C M C⁻¹``.
The axes of a line ``a b c XYZ`` are applied X first: ``Rz(c) Ry(b) Rx(a)`` (J. Lander, "Working with motion capture
file formats", Game Developer, 1998). Limits are ignored: recordings overstep them.

Here each bone is a joint at the bone's start that bears its name, so ``lfemur`` is the left hip; a bone that carries no
other has ``<bone>_end`` too.
"""

from __future__ import annotations

import math
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

INCH = 0.0254
ROOT = "root"
_DOF = {"tx", "ty", "tz", "rx", "ry", "rz", "l"}


@dataclass
class Bone:
    """One bone of an ASF file; angles in radians, lengths in the file's unit."""

    name: str
    direction: Array = field(default_factory=lambda: np.zeros(3))
    length: float = 0.0
    axis: Array = field(default_factory=lambda: np.zeros(3))
    order: str = "xyz"
    dof: tuple[str, ...] = ()
    place: Array = field(default_factory=lambda: np.zeros(3))


@dataclass(frozen=True)
class Acclaim:
    """An ASF file.

    Attributes:
        bones: By name, the root among them.
        parents: Name of the parent of every bone but the root.
        metres: Metres per unit: the file's ``length`` says how many units are an inch (CMU: 0.45).
        degrees: Whether its angles, and those of an AMC that does not say, are degrees.
    """

    bones: dict[str, Bone]
    parents: dict[str, str]
    metres: float
    degrees: bool


def find_asf(amc: Path) -> Path | None:
    """The skeleton beside a motion: the one whose name it continues (``01.asf`` for ``01_02.amc``), or the only one."""
    beside = sorted(path for path in amc.parent.iterdir() if path.suffix.lower() == ".asf")
    named = [path for path in beside if re.match(re.escape(path.stem) + r"(?![A-Za-z0-9])", amc.stem)]
    if named:
        return max(named, key=lambda path: len(path.stem))
    return beside[0] if len(beside) == 1 else None


def read_asf(path: Path) -> Acclaim:
    """Read a skeleton.

    Raises:
        MotionFileError: Naming the line, if the file is malformed or cut off.
    """
    sections = _sections(path, read_lines(path))
    if missing := [name for name in ("root", "bonedata", "hierarchy") if name not in sections]:
        raise MotionFileError(path, f"has no :{missing[0]} section")
    degrees, inches = True, 1.0
    for line, (word, *values) in sections.get("units", []):
        if word == "angle" and values:
            degrees = values[0].lower().startswith("deg")
        if word == "length" and values:
            inches = number(path, line, values[0])
            if inches <= 0:
                raise MotionFileError(path, f"a length unit of {inches}", line)
    scale = np.pi / 180 if degrees else 1.0
    bones = {ROOT: _root(path, sections["root"], scale)}
    for bone in _bones(path, sections["bonedata"], scale):
        bones[bone.name] = bone
    if len(bones) > MAX_JOINTS:
        raise MotionFileError(path, f"more than {MAX_JOINTS} bones")
    return Acclaim(bones, _parents(path, sections["hierarchy"], bones), INCH / inches, degrees)


def _sections(path: Path, lines: list[str]) -> dict[str, list[tuple[int, list[str]]]]:
    """Non-empty lines as words, by section; comments left out."""
    result: dict[str, list[tuple[int, list[str]]]] = {}
    name = ""
    for index, text in enumerate(lines):
        words = text.split("#")[0].replace("(", " ").replace(")", " ").split()
        if not words:
            continue
        if words[0].startswith(":"):
            name = words[0][1:].lower()
            result.setdefault(name, [])
        elif name:
            result[name].append((index + 1, words))
        else:
            raise MotionFileError(path, f"{words[0][:40]!r} before the first section", index + 1)
    return result


def _three(path: Path, line: int, words: list[str]) -> Array:
    if len(words) < 3:
        raise MotionFileError(path, f"3 numbers are needed, not {len(words)}", line)
    return np.array([number(path, line, word) for word in words[:3]])


def _order(path: Path, line: int, words: list[str]) -> str:
    order = words[0].lower() if words else "xyz"
    if sorted(order) != ["x", "y", "z"]:
        raise MotionFileError(path, f"{order[:40]!r} is no order of axes", line)
    return order


def _degrees_of_freedom(path: Path, line: int, words: list[str]) -> tuple[str, ...]:
    names = tuple(word.lower() for word in words)
    if unknown := [name for name in names if name not in _DOF]:
        raise MotionFileError(path, f"unknown degree of freedom {unknown[0][:40]!r}", line)
    return names


def _root(path: Path, lines: list[tuple[int, list[str]]], scale: float) -> Bone:
    bone = Bone(ROOT, dof=("tx", "ty", "tz", "rx", "ry", "rz"))
    for line, (word, *values) in lines:
        match word.lower():
            case "order":
                bone.dof = _degrees_of_freedom(path, line, values)
            case "axis":
                bone.order = _order(path, line, values)
            case "position":
                bone.place = _three(path, line, values)
            case "orientation":
                bone.axis = _three(path, line, values) * scale
    return bone


def _bones(path: Path, lines: list[tuple[int, list[str]]], scale: float) -> Iterator[Bone]:
    bone: Bone | None = None
    for line, (word, *values) in lines:
        keyword = word.lower()
        if keyword == "begin":
            if bone is not None:
                raise MotionFileError(path, "'begin' inside of a bone", line)
            bone = Bone("")
        elif bone is None:
            raise MotionFileError(path, f"{word[:40]!r} outside of a bone", line)
        elif keyword == "end":
            if not bone.name:
                raise MotionFileError(path, "a bone without a name", line)
            yield bone
            bone = None
        elif keyword == "name" and values:
            bone.name = values[0]
        elif keyword == "direction":
            bone.direction = _three(path, line, values)
        elif keyword == "length":
            bone.length = number(path, line, values[0] if values else "")
        elif keyword == "axis":
            bone.axis, bone.order = _three(path, line, values) * scale, _order(path, line, values[3:])
        elif keyword == "dof":
            bone.dof = _degrees_of_freedom(path, line, values)
    if bone is not None:
        raise MotionFileError(path, f"bone {bone.name!r} has no 'end': the file is cut off")


def _parents(path: Path, lines: list[tuple[int, list[str]]], bones: dict[str, Bone]) -> dict[str, str]:
    parents: dict[str, str] = {}
    for line, words in lines:
        if words[0].lower() in ("begin", "end"):
            continue
        for name in words:
            if name not in bones:
                raise MotionFileError(path, f"{name[:40]!r} is not among the bones", line)
        for child in words[1:]:
            if child in parents or child == ROOT or (words[0] != ROOT and words[0] not in parents):
                raise MotionFileError(path, f"{words[0]} -> {child} does not hang on the tree once", line)
            parents[child] = words[0]
    if loose := [name for name in bones if name not in parents and name != ROOT]:
        raise MotionFileError(path, f"bone {loose[0]!r} is not in the hierarchy")
    return parents


def read_amc(path: Path, acclaim: Acclaim, fps: float) -> Motion:
    """Read a motion of a skeleton.

    Args:
        path: The AMC file.
        acclaim: Its skeleton.
        fps: Frames per second, which the format does not say (CMU and HDM05: 120).

    Raises:
        MotionFileError: Naming the line, if the file is malformed, cut off, or of another skeleton.
    """
    degrees, values, frames = _frames(path, read_lines(path), acclaim)
    scale = np.pi / 180 if degrees else 1.0
    skeleton, bones = tree(acclaim)

    def rotation(joint: int) -> Array:
        bone = bones[joint]
        if bone is None or not (axes := [axis for axis in bone.dof if axis.startswith("r")]):
            return np.broadcast_to(np.eye(3), (frames, 3, 3))
        columns = {axis[1]: i for i, axis in enumerate(bone.dof) if axis in axes}
        angles = np.zeros((frames, 3))
        for index, axis in enumerate(reversed(bone.order)):  # the last of the order is outermost
            if axis in columns:
                angles[:, index] = values[bone.name][:, columns[axis]] * scale
        return frame_of(bone) @ product(bone.order[::-1], angles) @ frame_of(bone).T

    def place(joint: int) -> Array:
        bone = bones[joint]
        if bone is None or bone.name != ROOT:
            offset: Array = skeleton.offsets[joint]
            return offset
        result = np.repeat(bone.place[None], frames, axis=0)
        for index, axis in enumerate(bone.dof):
            if axis in ("tx", "ty", "tz"):
                result[:, "xyz".index(axis[1])] += values[ROOT][:, index]
        return result

    return Motion(skeleton, frames, fps, rotation, place, metres=acclaim.metres, up="y")


def frame_of(bone: Bone) -> Array:
    """C, the rotation ``(3, 3)`` of a bone's own axes."""
    return product(bone.order[::-1], bone.axis[::-1])


def tree(acclaim: Acclaim) -> tuple[Skeleton, list[Bone | None]]:
    """The skeleton as joints at the bones' starts, and the bone of every joint (None at open ends)."""
    children: dict[str, list[str]] = {name: [] for name in acclaim.bones}
    for child, parent in acclaim.parents.items():
        children[parent].append(child)
    names, parents, offsets = [ROOT], [-1], [np.zeros(3)]
    bones: list[Bone | None] = [acclaim.bones[ROOT]]
    waiting = [(ROOT, 0)]
    while waiting:
        name, index = waiting.pop(0)
        bone = acclaim.bones[name]
        size = np.linalg.norm(bone.direction)
        end = bone.direction / size * bone.length if size > 0 else np.zeros(3)
        for child in children[name] or [""]:
            names.append(child or f"{name}_end")
            parents.append(index)
            offsets.append(end)
            bones.append(acclaim.bones[child] if child else None)
            if child:
                waiting.append((child, len(names) - 1))
    return Skeleton(tuple(names), tuple(parents), np.array(offsets)), bones


def _frames(path: Path, lines: list[str], acclaim: Acclaim) -> tuple[bool, dict[str, Array], int]:
    degrees, count, line = acclaim.degrees, 0, 0
    moving = {name: len(bone.dof) for name, bone in acclaim.bones.items() if bone.dof}
    values: dict[str, list[list[float]]] = {name: [] for name in moving}
    for line, text in enumerate(lines, 1):
        words = text.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0].startswith(":"):
            keyword = words[0].upper()
            degrees = True if keyword == ":DEGREES" else False if keyword == ":RADIANS" else degrees
        elif len(words) == 1 and words[0].isdigit():
            _complete(path, line, values, count)
            count += 1
            if count > MAX_FRAMES:
                raise MotionFileError(path, f"more than {MAX_FRAMES} frames", line)
        else:
            _bone_line(path, line, words, moving, values, count)
    if not count:
        raise MotionFileError(path, "has no frames", line)
    _complete(path, line, values, count)
    return degrees, {name: np.array(rows) for name, rows in values.items()}, count


def _bone_line(
    path: Path, line: int, words: list[str], moving: dict[str, int], values: dict[str, list[list[float]]], count: int
) -> None:
    name = words[0]
    if name not in moving:
        raise MotionFileError(path, f"{name[:40]!r} is not a moving bone of the skeleton", line)
    if len(words) - 1 != moving[name]:
        raise MotionFileError(path, f"{name} has {len(words) - 1} numbers and {moving[name]} degrees of freedom", line)
    if len(values[name]) != count - 1:
        raise MotionFileError(path, f"{name} stands before the first frame or twice in one", line)
    try:
        row = [float(word) for word in words[1:]]
    except ValueError:
        row = []
    if not row or not all(map(math.isfinite, row)):
        row = [number(path, line, word) for word in words[1:]]
    values[name].append(row)


def _complete(path: Path, line: int, values: dict[str, list[list[float]]], count: int) -> None:
    if lacking := [name for name, rows in values.items() if len(rows) < count]:
        raise MotionFileError(path, f"frame {count} has no line for {lacking[0]!r}: the file is cut off", line)
