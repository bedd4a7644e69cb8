"""From a moving tree of joints to the 17 joints of the corpus: metres, y up, the person's own left and right.

Hips, knees, ankles, shoulders, elbows and wrists are joints of the file. The others are chosen so that files of
different makers agree with the corpus that ships: root is the middle of the hips; thorax the joint of the trunk
nearest to the middle of the shoulders; spine the one nearest to 0.45 of the way to it. Recordings have no nose: it and
the top of the head are fixed to the head, the nose half-way between thorax and top, 11 cm in front if legs are 80 cm.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skeleton_prompt.clips.canonical_skeleton import CANONICAL
from skeleton_prompt.clips.formats.mocap.joint_mapping import LIMB_ROLES, Parts, find_parts
from skeleton_prompt.clips.formats.mocap.kinematics import Motion, solve
from skeleton_prompt.clips.formats.mocap.reading import MAX_METRES, Array, MotionFileError

UNITS = {"mm": 0.001, "cm": 0.01, "inch": 0.0254, "CMU unit (1/0.45 inch)": 0.0254 / 0.45, "foot": 0.3048, "m": 1.0}
SPINE = 0.45  # of the way from root to thorax: 0.39 in CMU and HDM05 as shipped, 0.48 in Human3.6M, 0.61 in UI-PRMD
STATURE = 1.42  # metres of hip to ankle plus hips to head joint, of an adult
_ROLES = {
    "rhip": 1, "rknee": 2, "rankle": 3, "lhip": 4, "lknee": 5, "lankle": 6, "lshoulder": 11, "lelbow": 12, "lwrist": 13,
    "rshoulder": 14, "relbow": 15, "rwrist": 16,
}  # fmt: skip
_TO_Y_UP = {"y": np.eye(3), "z": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])}


@dataclass(frozen=True)
class Canonical:
    """A recording in the joints of the corpus.

    Attributes:
        frames: ``(F, 17, 3)`` float64 places in metres, y up.
        fps: Frames per second.
        unit: The unit of the file, in words.
        up: ``y`` or ``z``, as the file had it.
    """

    frames: Array
    fps: float
    unit: str
    up: str


@dataclass(frozen=True)
class _Pose:
    """One pose that the head's shape and the choice of joints are read from; unit and axes of the file."""

    places: dict[int, Array]
    head: Array
    up: Array


def canonical(path: Path, motion: Motion, up: str | None = None) -> Canonical:
    """The 17 joints of a motion.

    Args:
        path: The file, for messages.
        motion: What a reader made of it.
        up: ``y`` or ``z`` if the caller knows better than the format or a guess.

    Raises:
        MotionFileError: If joints are missing, or size or sides are not those of a person.
    """
    try:
        parts = find_parts(motion.skeleton)
    except LookupError as error:
        raise MotionFileError(path, str(error)) from None
    places, turns = solve(motion, parts.all)
    if not all(np.isfinite(place).all() for place in places.values()):
        raise MotionFileError(path, "numbers too large to pose the skeleton")
    rest = dict(enumerate(motion.skeleton.rest())) if motion.turns else None
    axis = up or motion.up or _guess_up(parts, places, rest)
    metres, unit = _unit(path, motion, parts, places)
    head_turns = turns[parts.roles["head"]] if motion.turns else _head_turns(parts, places)
    pose = _reference(parts, places, head_turns, rest, axis)
    joints = _joints(parts, places, head_turns, pose)
    joints = joints * metres @ _TO_Y_UP[axis].T
    if np.abs(joints).max() > MAX_METRES:
        raise MotionFileError(
            path, f"the person is {np.abs(joints).max():.0f} m from the origin; limit {MAX_METRES:.0f} m"
        )
    _check_sides(path, parts, places)
    return Canonical(joints, motion.fps, unit, axis)


def _standing(parts: Parts, places: dict[int, Array]) -> str | None:
    """The axis along which the head is clearly above the ankles: ``y``, ``z`` or None."""
    ankles = (places[parts.roles["lankle"]] + places[parts.roles["rankle"]]) / 2
    up = np.median(np.atleast_2d(places[parts.roles["head"]] - ankles), axis=0)
    largest = int(np.argmax(np.abs(up)))
    clear = up[largest] > 2 * np.linalg.norm(np.delete(up, largest))
    return "xyz"[largest] if clear and largest > 0 else None


def _guess_up(parts: Parts, places: dict[int, Array], rest: dict[int, Array] | None) -> str:
    """The file's up axis: y as the format has it, unless the person stands along z and the rest pose agrees."""
    moving, resting = _standing(parts, places), _standing(parts, rest) if rest else None
    return "z" if (moving == "z" and resting != "y") or (moving is None and resting == "z") else "y"


def _lengths(parts: Parts, places: dict[int, Array]) -> tuple[float, float]:
    """Hip to ankle, and middle of the hips to head along the trunk, in the file's unit."""

    def between(a: Array, b: Array) -> float:
        return float(np.median(np.linalg.norm(a - b, axis=-1)))

    roles = parts.roles
    legs = [
        between(places[roles[side + a]], places[roles[side + b]])
        for side in "lr"
        for a, b in (("hip", "knee"), ("knee", "ankle"))
    ]
    trunk = [*parts.trunk, roles["head"]]
    return sum(legs) / 2, sum(between(places[a], places[b]) for a, b in itertools.pairwise(trunk))


def _unit(path: Path, motion: Motion, parts: Parts, places: dict[int, Array]) -> tuple[float, str]:
    """Metres per unit: what the file says if a person comes out, else the unit in which the skeleton is a person."""
    size = sum(_lengths(parts, places))
    if motion.metres and 0.6 * STATURE < size * motion.metres < 1.5 * STATURE:
        return motion.metres, "as the file says"
    name = min(UNITS, key=lambda unit: abs(np.log(max(size, 1e-9) * UNITS[unit] / STATURE)))
    if not 0.6 < size * UNITS[name] / STATURE < 1.6:
        raise MotionFileError(path, f"legs and trunk are {size:.4g} long, which is a person's size in no unit known")
    return UNITS[name], f"{name}, by the size of the skeleton"


def _head_turns(parts: Parts, places: dict[int, Array]) -> Array:
    """Rotations of the head where only places are known: left as the shoulders, up along the neck."""
    roles = parts.roles
    left = places[roles["lshoulder"]] - places[roles["rshoulder"]]
    up = places[roles["head"]] - (places[roles["lshoulder"]] + places[roles["rshoulder"]]) / 2
    up = up - left * ((up * left).sum(-1) / np.maximum((left * left).sum(-1), 1e-12))[:, None]
    columns = [left, up, np.cross(left, up)]
    units = [column / np.maximum(np.linalg.norm(column, axis=-1, keepdims=True), 1e-9) for column in columns]
    result: Array = np.stack(units, -1)
    return result


def _reference(
    parts: Parts, places: dict[int, Array], head_turns: Array, rest: dict[int, Array] | None, axis: str
) -> _Pose:
    """The rest pose if a person stands in it, else the most upright frame."""
    standing = _standing(parts, rest) if rest else None
    if rest and standing:
        return _Pose(rest, np.eye(3), np.eye(3)["xyz".index(standing)])
    up = np.eye(3)["xyz".index(axis)]
    ankles = (places[parts.roles["lankle"]] + places[parts.roles["rankle"]]) / 2
    frame = int(np.argmax((places[parts.roles["head"]] - ankles) @ up))
    return _Pose({joint: place[frame] for joint, place in places.items()}, head_turns[frame], up)


def _joints(parts: Parts, places: dict[int, Array], head_turns: Array, pose: _Pose) -> Array:
    """``(F, 17, 3)`` in the file's unit and axes."""
    result = np.zeros((len(head_turns), len(CANONICAL), 3))
    for role in LIMB_ROLES:
        result[:, _ROLES[role]] = places[parts.roles[role]]
    result[:, 0] = (result[:, 1] + result[:, 4]) / 2
    shoulders = (result[:, 11] + result[:, 14]) / 2
    chosen = _nearest(parts, places, shoulders, np.linalg.norm(shoulders - result[:, 0], axis=-1) * 0.4)
    result[:, 8] = places[chosen] if chosen is not None else shoulders
    middle = result[:, 0] + SPINE * (result[:, 8] - result[:, 0])
    chosen = _nearest(parts, places, middle, np.linalg.norm(result[:, 8] - result[:, 0], axis=-1) * 0.25)
    result[:, 7] = places[chosen] if chosen is not None else middle
    nose, top = _face(parts, pose)
    head = places[parts.roles["head"]]
    result[:, 9] = head + head_turns @ nose
    result[:, 10] = head + head_turns @ top
    return result


def _nearest(parts: Parts, places: dict[int, Array], goal: Array, limit: Array) -> int | None:
    """The joint of the trunk that is nearest to a place over all frames, if it is within the limit."""
    away = {joint: float(np.median(np.linalg.norm(places[joint] - goal, axis=-1))) for joint in parts.trunk}
    best = min(away, key=lambda joint: away[joint], default=None)
    return best if best is not None and away[best] <= float(np.median(limit)) else None


def _face(parts: Parts, pose: _Pose) -> tuple[Array, Array]:
    """Nose and top of the head relative to the head joint, in the head's own axes and the file's unit."""
    roles, at = parts.roles, pose.places
    left = at[roles["lhip"]] - at[roles["rhip"]]
    left = left - pose.up * (left @ pose.up)
    front = np.cross(left / max(float(np.linalg.norm(left)), 1e-9), pose.up)
    leg = _lengths(parts, {joint: place[None] for joint, place in at.items()})[0]
    scale = leg / 0.8  # a measure in metres of an adult, in the file's unit and this person's size
    head, shoulders = at[roles["head"]], (at[roles["lshoulder"]] + at[roles["rshoulder"]]) / 2
    neck = at[min(parts.trunk, key=lambda joint: float(np.linalg.norm(at[joint] - shoulders)))]
    tops = [at[joint] - head for joint in parts.tops if 0.06 < (at[joint] - head) @ pose.up / scale < 0.35]
    height = max(0.1 * scale, 0.25 * scale - float((head - neck) @ pose.up))
    top = max(tops, key=lambda place: float(place @ pose.up)) if tops else pose.up * height
    rise = (head + top - neck) @ pose.up
    nose = neck + pose.up * (rise / 2) + front * (0.11 * scale) - head
    return pose.head.T @ nose, pose.head.T @ top


def _check_sides(path: Path, parts: Parts, places: dict[int, Array]) -> None:
    """Refuse a person whose feet point backwards: left and right are swapped, or the space is mirrored."""
    left = places[parts.roles["lhip"]] - places[parts.roles["rhip"]]
    for role, joint in parts.toes.items():
        knee, ankle = (places[parts.roles[role[0] + name]] for name in ("knee", "ankle"))
        # The shin and not the vertical says where the front is: people lie and bend, ankles hardly.
        along = ((places[joint] - ankle) * np.cross(left, knee - ankle)).sum(-1)
        if np.mean(along < 0) > 0.9:
            raise MotionFileError(
                path, "the feet point backwards: left and right are swapped, or the space is mirrored"
            )
