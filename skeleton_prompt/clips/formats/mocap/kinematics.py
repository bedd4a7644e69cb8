"""A moving tree of joints and its forward kinematics.

Letters: F frames of the file, J joints of its skeleton. Rotations are matrices on column vectors: ``R @ v``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from skeleton_prompt.clips.formats.mocap.reading import Array

_AXES = {"x": 0, "y": 1, "z": 2}


@dataclass(frozen=True)
class Skeleton:
    """Joints of a file, parents before children.

    Attributes:
        names: ``J`` names as the file has them; the open end of a bone is ``<bone>_end``.
        parents: ``J`` indices, -1 for the root.
        offsets: ``(J, 3)`` place relative to the parent in the rest pose, in the file's unit.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: Array

    def path(self, joint: int) -> list[int]:
        """The joints from the root down to this one, both included."""
        result = [joint]
        while self.parents[result[0]] >= 0:
            result.insert(0, self.parents[result[0]])
        return result

    def rest(self) -> Array:
        """``(J, 3)`` places in the rest pose, where every rotation is none."""
        places = self.offsets.copy()
        for joint, parent in enumerate(self.parents):
            if parent >= 0:
                places[joint] += places[parent]
        return places


@dataclass(frozen=True)
class Motion:
    """A skeleton that moves. Joints are computed when they are asked for, because most files have fingers too.

    Attributes:
        skeleton: The joints.
        frames: F.
        fps: Frames per second.
        rotation: Gives the ``(F, 3, 3)`` rotations of a joint relative to its parent.
        place: Gives the ``(F, 3)`` or ``(3,)`` places of a joint relative to its parent.
        metres: Metres per unit of length, or None where the format does not say.
        up: ``y`` or ``z``, or None where the format does not say.
        turns: Whether rotations and rest pose are known; otherwise only places are.
    """

    skeleton: Skeleton
    frames: int
    fps: float
    rotation: Callable[[int], Array]
    place: Callable[[int], Array]
    metres: float | None = None
    up: str | None = None
    turns: bool = True


def solve(motion: Motion, wanted: Iterable[int]) -> tuple[dict[int, Array], dict[int, Array]]:
    """Forward kinematics: world place ``(F, 3)`` and world rotation ``(F, 3, 3)`` of the wanted joints and those above.

    A joint's place is its parent's plus its offset turned by the parent's world rotation.
    """
    needed = sorted({above for joint in wanted for above in motion.skeleton.path(joint)})
    places: dict[int, Array] = {}
    turns: dict[int, Array] = {}
    for joint in needed:
        parent = motion.skeleton.parents[joint]
        own, offset = motion.rotation(joint), np.broadcast_to(motion.place(joint), (motion.frames, 3))
        if parent < 0:
            places[joint], turns[joint] = offset.copy(), own
        else:
            places[joint] = places[parent] + np.einsum("fij,fj->fi", turns[parent], offset)
            turns[joint] = turns[parent] @ own
    return places, turns


def about_axis(axis: str, angle: Array) -> Array:
    """Right-handed rotations ``(..., 3, 3)`` about ``x``, ``y`` or ``z`` by angles in radians."""
    a, b = ((1, 2), (2, 0), (0, 1))[_AXES[axis]]
    result = np.zeros((*angle.shape, 3, 3))
    result[..., _AXES[axis], _AXES[axis]] = 1
    result[..., a, a] = result[..., b, b] = np.cos(angle)
    result[..., b, a] = np.sin(angle)
    result[..., a, b] = -result[..., b, a]
    return result


def product(axes: str, angles: Array) -> Array:
    """``R(axes[0]) @ R(axes[1]) @ ...`` with angles ``(..., len(axes))`` in radians."""
    result = np.broadcast_to(np.eye(3), (*angles.shape[:-1], 3, 3))
    for index, axis in enumerate(axes):
        result = result @ about_axis(axis, angles[..., index])
    return result


def from_axis_angle(vectors: Array) -> Array:
    """Rotations ``(..., 3, 3)`` from axis times angle ``(..., 3)`` in radians (Rodrigues' formula)."""
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*x.shape, 3, 3)
    # sin(a)/a and (1 - cos(a))/a² by way of sinc, which is sound at 0.
    first, second = np.sinc(angle / np.pi), 0.5 * np.sinc(angle / 2 / np.pi) ** 2
    result: Array = np.eye(3) + first * cross + second * (cross @ cross)
    return result
