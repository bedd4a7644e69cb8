"""Coordinates that are fractions of a picture: their stretch is undone where the picture's size is known.

Letters: P people, T frames, J joints, D dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from skeleton_prompt.clips.clip import Clip
from skeleton_prompt.clips.findings import Finding

Array = np.ndarray[Any, np.dtype[np.float32]]

BEYOND = 0.5  # how far single joints outside the picture may lie, in pictures
INSIDE = 0.9  # share of the joints that lie in the picture
POSITIVE = 0.995  # the same on the positive side, where no image_size supports the guess
LEAST_SIDE = 16  # pixels; a smaller image_size is a ratio


def to_square_pixels(clip: Clip) -> tuple[Array, list[Finding], list[Finding]]:
    """Factors ``(D,)`` that undo the stretch of coordinates given as fractions of a picture, notes and warnings.

    MediaPipe gives x as a fraction of the width and y of the height: on a wide picture everybody would be thin.
    Metric and centred coordinates, which have both signs, are never scaled.
    """
    D = clip.positions.shape[-1]
    factors = np.ones(D, np.float32)
    if clip.units not in (None, "fraction") or not (
        clip.units == "fraction" or _are_fractions(clip.positions, clip.image_size is not None)
    ):
        return factors, [], []
    if clip.image_size is None:
        message = (
            "the coordinates look like fractions of a picture, of width and of height: send image_size so that their "
            "stretch can be undone, or units where they are something else"
        )
        return factors, [], [Finding("fractions_without_image_size", message, "image_size")]
    width, height = clip.image_size
    if abs(width / height - 1) < 1e-3 or (clip.units is None and min(width, height) < LEAST_SIDE):
        return factors, [], []
    factors[0] = width / height
    if D == 3:
        factors[2] = width / height  # MediaPipe's z has the unit of its x
    message = "coordinates are fractions of the picture: scaled by image_size to undo its stretch"
    return factors, [Finding("fractions_scaled", message, "units")], []


def _are_fractions(positions: Array, sized: bool) -> bool:
    """Whether x lies in 0 to 1 and y in 0 to 1, or in -1 to 0 where y was sent upwards; 3-D: only as MediaPipe does."""
    x, y = positions[..., 0], positions[..., 1]
    left, right = float(np.fmin.reduce(x, axis=None)), float(np.fmax.reduce(x, axis=None))
    if not (left >= -BEYOND and right <= 1 + BEYOND):
        return False
    low, high = float(np.fmin.reduce(y, axis=None)), float(np.fmax.reduce(y, axis=None))
    up = low + high < 0
    if up:
        y, low, high = -y, -high, -low
    if not (low >= -BEYOND and high <= 1 + BEYOND) or (positions.shape[-1] == 3 and not up):
        return False
    if min(left, low) >= 0 and max(right, high) <= 1:
        return True
    count = np.isfinite(x).sum()
    inside = (x >= 0) & (x <= 1) & (y >= 0) & (y <= 1)
    positive = (x >= 0) & (y >= 0)
    return bool(inside.sum() >= INSIDE * count and (sized or positive.sum() >= POSITIVE * count))
