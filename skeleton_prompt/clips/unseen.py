"""Joints that were sent with numbers but were not seen: placeholders, low confidence far from the body, spikes.

Letters: T frames, P people, J joints, C channels, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skeleton_prompt.clips.findings import Finding

Array = np.ndarray[Any, np.dtype[np.float32]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

PLACEHOLDER_ROUNDS = 3  # different placeholders in one clip, such as -1 and -9999
FAR_OUTSIDE = 1.0  # of the extent of the other joints
SHARED_OUTSIDE = 0.4  # the same for one exact position that several joints share in several frames
REPEATED = 3  # times that a position with unequal coordinates must occur
HUGE = 5.0  # times the largest other coordinate
LOW_CONFIDENCE = 0.12
LOW_SHARE = 0.25  # of the clip's median confidence
GAP_SECONDS = 0.5
STRAY_IN_GAP = 0.1  # of the body's extent, from the line between the trusted frames before and after
SMOOTH = 0.12  # of the extent: a joint that moves less from the frame before or to the next is followed, not guessed
STRAY_THOUGH_SMOOTH = 0.75  # of the extent, from where the trusted frames put it
STRAY_BEYOND = 0.5  # the same where only one side is known or the gap is long
STRAY_FROM_BODY = 0.75  # outside the box of the trusted joints, for joints that are never trusted
STRAY_THOUGH_FOLLOWED = 2.5  # the same for those that move smoothly: legs below the picture are 1 below the trunk
SPIKE = 1.0  # of the body's extent, away from the frame before and the frame after
SPIKE_RETURN = 0.35  # of the spike, between the frame before and the frame after


def hide_placeholders(values: Array, D: int) -> tuple[Array, Finding | None]:
    """Replace the numbers that tools write for a joint that was not seen by NaN.

    A placeholder is -1, or a number far outside the other joints, in every coordinate; or one exact position far
    outside that several joints share. Zero in every coordinate is dealt with when the clip is arranged.

    Args:
        values: ``(T, P, J, C)`` as sent, NaN where a joint was not sent.
        D: Coordinates among the channels, 2 or 3.

    Returns:
        The values, copied where anything was replaced, and what to say of it.
    """
    hidden: Mask | None = None
    examples: list[str] = []
    for _ in range(PLACEHOLDER_ROUNDS):
        found = _placeholder(values[..., :D])
        if found is None:
            break
        cells, text = found
        if hidden is None:
            values, hidden = values.copy(), cells
        hidden = hidden | cells
        values[cells] = np.nan
        examples.append(text)
    if hidden is None:
        return values, None
    message = f"{int(hidden.sum())} joint positions at {', '.join(examples)} were taken as not seen; send null"
    return values, Finding("placeholders_unseen", message, "keypoints")


def _placeholder(places: Array) -> tuple[Mask, str] | None:
    """The cells ``(T, P, J)`` of one placeholder, and how it is written; None where there is none."""
    x = places[..., 0]
    equal = x == places[..., 1]
    for axis in range(2, places.shape[-1]):
        equal &= x == places[..., axis]
    equal &= x != 0
    if equal.any():
        there = x[equal]
        for value in dict.fromkeys((-1.0, float(there.min()), float(there.max()))):
            cells = equal & (x == value)
            if cells.any() and _is_equal_placeholder(places, cells, value):
                return cells, "(" + ", ".join([f"{value:g}"] * places.shape[-1]) + ")"
    return _shared_corner(places)


def _others(places: Array, cells: Mask) -> tuple[Array, Array] | None:
    """Lower and upper edges ``(D,)`` of all other joints; None without any."""
    rest = ~cells & (places[..., 0] == places[..., 0])
    rest &= (places != 0).any(-1)
    if not rest.any():
        return None
    points = places[rest]
    return np.percentile(points, 2.5, axis=0), np.percentile(points, 97.5, axis=0)


def _outside(position: Array | float, low: Array, high: Array) -> float:
    """How far a position lies outside a box, in units of its longer side."""
    extent = max(float((high - low).max()), 1e-9)
    return float(np.maximum(low - position, position - high).max()) / extent


def _is_equal_placeholder(places: Array, cells: Mask, value: float) -> bool:
    """Whether the cells with ``value`` in every coordinate are no position of a joint."""
    edges = _others(places, cells)
    if edges is None:
        return value < 0
    low, high = edges
    beyond = _outside(value, low, high)
    if value == -1:
        together = bool((cells.sum(2) >= 2).any())
        whole = bool((np.nan_to_num(places[cells == 0][:256]) % 1 == 0).all())
        return together or beyond > 0.25 or bool((low >= 0).all()) or (int(cells.sum()) >= 2 and not whole)
    if abs(value) > HUGE * max(float(np.abs(low).max()), float(np.abs(high).max())):
        return True
    return int(cells.sum()) >= 2 and beyond > FAR_OUTSIDE


def _shared_corner(places: Array) -> tuple[Mask, str] | None:
    """Cells of one exact position, leftmost or rightmost of all, that several joints share far outside the body."""
    x = places[..., 0]
    for edge in (np.fmin.reduce(x, axis=None), np.fmax.reduce(x, axis=None)):
        cells = x == edge
        if int(cells.sum()) < REPEATED or edge == 0:
            continue
        first = places[cells][0]
        cells &= (places == first).all(-1)
        joints = int(cells.any((0, 1)).sum())
        if int(cells.sum()) < REPEATED or joints < 2 or int(cells.any((1, 2)).sum()) < 2:
            continue
        edges = _others(places, cells)
        if edges is not None and _outside(first, *edges) > SHARED_OUTSIDE:
            return cells, "(" + ", ".join(f"{float(value):g}" for value in first) + ")"
    return None


@dataclass(frozen=True, eq=False)
class Boxes:
    """The boxes around the joints of every person and frame.

    Attributes:
        channels: ``(D, P, T, J)`` contiguous positions: numpy is several times slower along an axis of two or three.
        low: ``(D, P, T)`` lower edges, NaN where nobody is seen.
        high: Likewise.
    """

    channels: Array
    low: Array
    high: Array

    @classmethod
    def of(cls, positions: Array) -> Boxes:
        """The boxes of ``(P, T, J, D)`` positions, NaN where not seen."""
        channels = np.ascontiguousarray(np.moveaxis(positions, -1, 0))
        return cls(channels, np.fmin.reduce(channels, axis=-1), np.fmax.reduce(channels, axis=-1))

    @property
    def sides(self) -> Array:
        """``(P, T)`` longer side of each box."""
        result: Array = (self.high - self.low).max(0)
        return result


def hide_strays(positions: Array, confidence: Array, fps: float, boxes: Boxes) -> tuple[Array, Array, list[Finding]]:
    """Joints of low confidence away from where they were before and after, and jumps of one frame, become unseen.

    Args:
        positions: ``(P, T, J, D)``, NaN where not seen.
        confidence: ``(P, T, J)``, 0 where not seen.
        fps: Frames per second.
        boxes: Of the positions.

    Returns:
        Positions and confidence, copied where anything changed, and what to say of it.
    """
    notes = []
    floor = _floor(confidence)
    if floor:
        strays = _strays(positions, confidence, floor, max(1, int(GAP_SECONDS * fps + 1e-6)))
        if strays.any():
            positions, confidence = _hide(positions, confidence, strays)
            message = (
                f"{int(strays.sum())} joint positions with a confidence below {floor:.2g}, away from where the joint "
                "is in other frames, were taken as not seen"
            )
            notes.append(Finding("low_confidence_unseen", message, "keypoints"))
    spikes = _spikes(positions, Boxes.of(positions) if notes else boxes)
    if spikes is not None:
        positions, confidence = _hide(positions, confidence, spikes)
        message = f"{int(spikes.sum())} joint positions that jump away for a single frame were taken as not seen"
        notes.append(Finding("spikes_unseen", message, "keypoints"))
    return positions, confidence, notes


def _hide(positions: Array, confidence: Array, cells: Mask) -> tuple[Array, Array]:
    positions, confidence = positions.copy(), confidence.copy()
    positions[cells] = np.nan
    confidence[cells] = 0
    return positions, confidence


def _floor(confidence: Array) -> float:
    """The confidence below which a joint has to be near its other frames; 0 where none is so low."""
    seen = confidence > 0
    if not (seen & (confidence < LOW_CONFIDENCE)).any():
        return 0.0
    floor = min(LOW_CONFIDENCE, LOW_SHARE * float(np.median(confidence[seen])))
    return floor if (seen & (confidence < floor)).any() else 0.0


def extents(sizes: Array, share: float) -> Array:
    """``(P,)`` quantile over the frames of ``(P, T)`` box sides; 0 where never seen."""
    result = np.zeros(len(sizes), np.float32)
    for person, row in enumerate(sizes):
        row = np.sort(row[row > 0])
        if len(row):
            result[person] = row[int(share * (len(row) - 1))]
    return result


def _strays(positions: Array, confidence: Array, floor: float, longest: int) -> Mask:
    """Cells ``(P, T, J)`` of low confidence that are not near where the trusted frames of the joint put it."""
    _, T, _ = confidence.shape
    low = (confidence > 0) & (confidence < floor)
    trusted = confidence >= floor
    shown = np.where(trusted[..., None], positions, np.float32(np.nan))
    extent = extents(Boxes.of(shown).sides, 0.5)[:, None, None]
    frame = np.arange(T)[None, :, None]
    before = np.maximum.accumulate(np.where(trusted, frame, -1), axis=1)
    after = np.minimum.accumulate(np.where(trusted, frame, T)[:, ::-1], axis=1)[:, ::-1]
    p, t, j = np.nonzero(low)
    b, a = before[p, t, j], after[p, t, j]
    start, end = np.where(b >= 0, b, a), np.where(a < T, a, b)
    known = (b >= 0) | (a < T)
    start, end = np.where(known, start, t), np.where(known, end, t)
    part = ((t - start) / np.maximum(end - start, 1))[:, None].astype(np.float32)
    expected = positions[p, start, j] * (1 - part) + positions[p, end, j] * part
    away = np.sqrt(((positions[p, t, j] - expected) ** 2).sum(-1))
    inside = (b >= 0) & (a < T) & (a - b - 1 <= longest)
    limit = np.where(inside, STRAY_IN_GAP, STRAY_BEYOND) * extent[p, 0, 0]
    jumps = np.full(confidence.shape, np.inf, np.float32)
    steps = np.sqrt(((positions[:, 1:] - positions[:, :-1]) ** 2).sum(-1))
    steps = np.where(np.isnan(steps), np.float32(np.inf), steps)
    jumps[:, 1:] = steps
    jumps[:, :-1] = np.minimum(jumps[:, :-1], steps)
    smooth = jumps[p, t, j] < SMOOTH * extent[p, 0, 0]
    stray = known & (away > np.where(smooth, STRAY_THOUGH_SMOOTH * extent[p, 0, 0], limit))
    if not known.all():
        body = np.where(trusted[..., None], positions, np.float32(np.nan))
        gap = np.maximum(np.fmin.reduce(body, axis=2)[p, t] - positions[p, t, j],
                         positions[p, t, j] - np.fmax.reduce(body, axis=2)[p, t]).max(-1)  # fmt: skip
        enough = trusted.sum(2)[p, t] >= 3
        share = np.where(smooth, STRAY_THOUGH_FOLLOWED, STRAY_FROM_BODY)
        stray |= ~known & enough & (gap > share * extent[p, 0, 0])
    cells = np.zeros_like(low)
    cells[p[stray], t[stray], j[stray]] = True
    return cells


def _spikes(positions: Array, boxes: Boxes) -> Mask | None:
    """Cells that are far from the frame before and the frame after, while these two agree; None if there are none."""
    if positions.shape[1] < 3:
        return None
    channels = boxes.channels
    lengths = _distances(channels[:, :, 1:], channels[:, :, :-1])  # NaN where either frame was not seen
    limit = SPIKE * np.maximum(extents(boxes.sides, 0.25), 1e-9)[:, None, None]
    if not (lengths > limit).any():
        return None
    across = _distances(channels[:, :, 2:], channels[:, :, :-2])
    shorter = np.minimum(lengths[:, 1:], lengths[:, :-1])
    cells = np.zeros(positions.shape[:3], bool)
    cells[:, 1:-1] = (shorter > limit) & (across < SPIKE_RETURN * shorter)
    cells[:, 0] = (lengths[:, 0] > limit[:, 0]) & (lengths[:, 1] < SPIKE_RETURN * lengths[:, 0]) & ~cells[:, 1]
    cells[:, -1] = (lengths[:, -1] > limit[:, 0]) & (lengths[:, -2] < SPIKE_RETURN * lengths[:, -1]) & ~cells[:, -2]
    return cells if cells.any() else None


def _distances(a: Array, b: Array) -> Array:
    steps = a - b
    lengths: Array = np.sqrt((steps * steps).sum(0))
    return lengths
