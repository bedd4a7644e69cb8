"""The up axis of 3-D files that do not state it, and the rotation to the convention of the API (y up).

The axis is that along which the head is clearly above the feet, or the shoulders above the hips, through the clip.
Spaces are taken as right-handed, so every rotation here is proper and nobody is mirrored.

Letters: N poses, J joints.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skeleton_prompt.clips.canonical_skeleton import CANONICAL
from skeleton_prompt.clips.layouts import Layout

Array = NDArray[np.float64]

CLEARLY = 2.0  # the largest component is this many times the rest
_TO_Y_UP = {
    "y": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "-y": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
    "z": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "-z": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "x": ((0, -1, 0), (1, 0, 0), (0, 0, 1)),
    "-x": ((0, 1, 0), (-1, 0, 0), (0, 0, 1)),
}
_HIGH = ("head_top", "nose", "thorax")
_LOW = ("rankle", "lankle", "rknee", "lknee")
_MIDDLE = ("rhip", "lhip", "root")


def to_y_up(values: Array, up_axis: str) -> Array:
    """(..., C) coordinates, x, y, z first, turned so that the given axis points along y."""
    turned = values.copy()
    turned[..., :3] = values[..., :3] @ np.array(_TO_Y_UP[up_axis], dtype=np.float64).T
    return turned


def standing_axis(values: Array, layout: Layout) -> str | None:
    """The axis along which people stand, ``y``, ``-y``, ``z`` and so on; None if that is not clear.

    Args:
        values: (N, J, C) poses, x, y, z first, NaN where not seen.
        layout: of the J joints.
    """
    places: dict[str, Array] = {}
    for role, pairs in zip(CANONICAL, layout.sources, strict=True):
        if pairs:
            places[role] = np.sum([weight * values[:, joint, :3] for joint, weight in pairs], axis=0)
    for high, low in ((_HIGH, _LOW), (_HIGH, _MIDDLE), (_MIDDLE, _LOW)):
        top, bottom = _middle(places, high), _middle(places, low)
        if top is None or bottom is None:
            continue
        up = top - bottom
        up = up[np.isfinite(up).all(1)]
        if not len(up):
            continue
        middle = np.median(up, 0)
        largest = int(np.argmax(np.abs(middle)))
        if abs(middle[largest]) > CLEARLY * float(np.linalg.norm(np.delete(middle, largest))):
            return ("-" if middle[largest] < 0 else "") + "xyz"[largest]
    return None


def _middle(places: dict[str, Array], roles: tuple[str, ...]) -> Array | None:
    """Mean of the roles that are there, (N, 3)."""
    found = [places[role] for role in roles if role in places]
    if not found:
        return None
    stack = np.stack(found)
    seen = np.isfinite(stack).all(-1, keepdims=True)
    count = seen.sum(0)
    total = np.where(seen, stack, 0.0).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
