"""Axes, handedness, mirroring and units: what a clip states about its coordinates, and the one convention they become.

2-D has x right and y down; 3-D is right-handed with y up.

Letters: P people, T frames, J joints, D dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from skeleton_prompt.clips.layouts import Layout
from skeleton_prompt.clips.validation import ProblemCollector, preview

Array = np.ndarray[Any, np.dtype[np.float32]]

UNITS = ("px", "fraction", "m", "mm", "cm", "normalized")
UP_AXES = ("x", "y", "z", "-x", "-y", "-z")
# (source axis, sign) of x, y and z after the rotation that brings each axis to +y.
_TURNS_3D: dict[str, tuple[tuple[int, int], ...]] = {
    "y": ((0, 1), (1, 1), (2, 1)),
    "-y": ((0, 1), (1, -1), (2, -1)),
    "z": ((0, 1), (2, 1), (1, -1)),
    "-z": ((0, 1), (2, -1), (1, 1)),
    "x": ((1, -1), (0, 1), (2, 1)),
    "-x": ((1, 1), (0, -1), (2, 1)),
}


@dataclass(frozen=True)
class Conventions:
    """What a clip states; None where it does not.

    Attributes:
        y_axis: ``up`` or ``down``.
        up_axis: One of ``UP_AXES``.
        handedness: ``right`` or ``left``.
        mirrored: Whether the picture was flipped before the joints were found in it.
        units: One of ``UNITS``.
    """

    y_axis: str | None = None
    up_axis: str | None = None
    handedness: str | None = None
    mirrored: bool = False
    units: str | None = None


def read_conventions(document: Mapping[str, Any], found: ProblemCollector) -> Conventions:
    """Read the fields and note those with a value that does not exist."""
    y_axis = document.get("y_axis")
    if not (y_axis is None or (isinstance(y_axis, str) and y_axis in ("up", "down"))):
        found.add("y_axis", "unknown_y_axis", f'y_axis is {preview(y_axis)}; it must be "up" or "down"')
        y_axis = None
    up_axis = _choice(document, "up_axis", UP_AXES, found)
    if up_axis is not None and y_axis is not None and up_axis != {"up": "y", "down": "-y"}[y_axis]:
        message = f"up_axis {up_axis!r} contradicts y_axis {y_axis!r}; send one of them"
        found.add("up_axis", "contradicting_axes", message)
    mirrored = document.get("mirrored")
    if mirrored is not None and not isinstance(mirrored, bool):
        found.add("mirrored", "not_a_boolean", f"mirrored is {preview(mirrored)}; it must be true or false")
    return Conventions(
        y_axis, up_axis, _choice(document, "handedness", ("right", "left"), found), mirrored is True,
        _choice(document, "units", UNITS, found),
    )  # fmt: skip


def _choice(document: Mapping[str, Any], name: str, values: tuple[str, ...], found: ProblemCollector) -> str | None:
    value = document.get(name)
    if value is None or (isinstance(value, str) and value in values):
        return value
    found.add(name, f"unknown_{name}", f"{name} is {preview(value)}; it must be one of {', '.join(values)}")
    return None


def check_dimension(stated: Conventions, D: int, found: ProblemCollector) -> None:
    """Note the fields that have no meaning in 2-D."""
    if D == 3:
        return
    if stated.up_axis is not None and stated.up_axis not in ("y", "-y"):
        message = f'up_axis {stated.up_axis!r} is for 3-D; 2-D has y_axis "down" or "up"'
        found.add("up_axis", "needs_3d", message + '; where y comes before x, send coords "yx" or "yxc"')
    if stated.handedness == "left":
        found.add("handedness", "needs_3d", 'handedness is for 3-D; for a flipped picture send "mirrored": true')


def to_one_convention(positions: Array, stated: Conventions, layout: Layout) -> Array:
    """Positions ``(P, T, J, D)`` with the axes of this module; in place where nothing but signs changes."""
    D = positions.shape[-1]
    up = stated.up_axis or ({"up": "y", "down": "-y"}[stated.y_axis] if stated.y_axis else None)
    if D == 2:
        if up == "y":
            positions[..., 1] *= -1
    else:
        if stated.handedness == "left":
            positions[..., 1 if up in ("z", "-z") else 2] *= -1  # any horizontal axis: the person is turned later
        if up not in (None, "y"):
            turn = _TURNS_3D[up]
            positions = np.stack([positions[..., axis] * np.float32(sign) for axis, sign in turn], -1)
    if stated.mirrored:
        positions[..., 0] *= -1
        positions = positions[:, :, list(mirrored_joints(layout))]
    return positions


@lru_cache(maxsize=64)
def mirrored_joints(layout: Layout) -> tuple[int, ...]:
    """For each joint the one on the other side of the body, itself where there is none."""
    roles: dict[str, int] = {role: index for index, role in enumerate(layout.roles) if role}
    names = {name: index for index, name in enumerate(layout.joints)}
    result = []
    for index, (name, role) in enumerate(zip(layout.joints, layout.roles, strict=True)):
        other = None
        if role and role[0] in "lr":
            other = roles.get(("r" if role[0] == "l" else "l") + role[1:])
        if other is None or not role:
            swapped = name.replace("left", "\0").replace("right", "left").replace("\0", "right")
            other = names.get(swapped) if swapped != name else other
        result.append(index if other is None else other)
    return tuple(result)
