"""Which detection is which person: by track ids where they are sent, else by position and size from frame to frame.

Letters: T frames, P people, J joints, C channels.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from skeleton_prompt.clips.findings import Finding
from skeleton_prompt.clips.unseen import Boxes
from skeleton_prompt.clips.validation import ProblemCollector, preview

Array = np.ndarray[Any, np.dtype[np.float32]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]
Costs = np.ndarray[Any, np.dtype[np.float64]]

FIELD = "track_ids"
JUMP = 0.3  # of the body's extent between two frames: less is a motion
CLEARLY_CLOSER = 0.5  # share of the cost of the order as sent that another order must stay below
ELSEWHERE = 1.25  # of the body's extent, that a whole body does not move between two frames
WHOLE = 0.6  # of the body's usual extent
NEW_PERSON = 3.0  # extents; farther than that a detection continues no track
JOINTS_COMPARED = 24


def order_people(values: Array, D: int) -> tuple[Array, Finding | None]:
    """Put people whose order changes between frames into one order, that of their first frames.

    An order as sent in which nobody jumps is kept as it is.

    Args:
        values: ``(T, P, J, C)``, NaN where not seen.
        D: Coordinates among the channels.

    Returns:
        The values, copied where anybody moved, and what to say of it.
    """
    T, P, J, _ = values.shape
    if P < 2:
        return values, None
    joints = np.linspace(0, J - 1, min(J, JOINTS_COMPARED)).astype(int)
    places = values[:, :, joints, :D]
    at_zero = places[..., 0] == 0
    for axis in range(1, D):
        at_zero &= places[..., axis] == 0
    if at_zero.any():
        places = np.where(at_zero[..., None], np.float32(np.nan), places)
    boxes = Boxes.of(places)
    centre, size = np.moveaxis(boxes.low + boxes.high, 0, -1) * np.float32(0.5), boxes.sides
    if not np.isfinite(size).any():
        return values, None
    extent = float(np.nanmedian(size))
    if not extent > 0 or not _jumps(centre, extent):
        return values, None
    order = np.tile(np.arange(P), (T, 1))
    last = places[0].copy()
    moved = 0
    for t in range(1, T):
        costs, known = _costs(last, places[t], extent)
        chosen = _assign(costs)
        if _is_better(np.where(known, costs, 0), chosen):
            order[t] = chosen
            moved += not np.array_equal(chosen, np.arange(P))
        now = places[t][order[t]]
        seen = ~np.isnan(now).any(-1).all(-1)
        last[seen] = now[seen]
    if not moved:
        return values, None
    values = np.take_along_axis(values, order[:, :, None, None], axis=1)
    message = f"the order of the people changed in {moved} frames and was restored by position and size"
    return values, Finding("people_reordered", message, FIELD)


def _jumps(centre: Array, extent: float) -> bool:
    """Whether any person's centre ``(T, P, D)`` moves farther than a motion, or appears elsewhere than it vanished."""
    for person in range(centre.shape[1]):
        track = centre[:, person]
        track = track[~np.isnan(track).any(-1)]
        if len(track) > 1 and float(np.abs(np.diff(track, axis=0)).max()) > JUMP * extent:
            return True
    return False


def _costs(last: Array, now: Array, extent: float) -> tuple[Costs, Mask]:
    """``(P tracks, P detections)`` mean distance of the joints that both show, in extents, and where there are any.

    A detection or a track without a common joint costs ``NEW_PERSON``: it may be anybody.
    """
    steps = last[:, None] - now[None]
    distance = np.sqrt((steps * steps).sum(-1))
    seen = ~np.isnan(distance)
    total = np.where(seen, distance, 0).sum(-1)
    mean = total / np.maximum(seen.sum(-1), 1) / extent
    known = seen.any(-1)
    return np.where(known, np.minimum(mean, 1e6), NEW_PERSON).astype(np.float64), known


def _assign(costs: Costs) -> np.ndarray[Any, np.dtype[np.int_]]:
    """Detection of each track: the nearest pairs first, then exchanged in pairs while that is cheaper."""
    P = len(costs)
    chosen = np.full(P, -1)
    free = np.ones(P, bool)
    for flat in np.argsort(costs, axis=None, kind="stable"):
        track, detection = divmod(int(flat), P)
        if chosen[track] < 0 and free[detection]:
            chosen[track], free[detection] = detection, False
    for _ in range(P):
        changed = False
        for a in range(P):
            for b in range(a + 1, P):
                here = costs[a, chosen[a]] + costs[b, chosen[b]]
                if costs[a, chosen[b]] + costs[b, chosen[a]] < here - 1e-12:
                    chosen[a], chosen[b] = chosen[b], chosen[a]
                    changed = True
        if not changed:
            break
    return chosen


def _is_better(costs: Costs, chosen: np.ndarray[Any, np.dtype[np.int_]]) -> bool:
    """Whether another order removes a jump and is clearly cheaper than the order as sent."""
    rows = np.arange(len(costs))
    sent, other = costs[rows, rows], costs[rows, chosen]
    return bool(sent.max() > JUMP and other.sum() < CLEARLY_CLOSER * sent.sum())


def jump_warning(boxes: Boxes) -> Finding | None:
    """A warning where the whole body is elsewhere from one frame to the next, as of another person.

    Args:
        boxes: Around the people in every frame.
    """
    size, centre = boxes.sides, boxes.low + boxes.high
    known = size[size > 0]
    if not len(known):
        return None
    usual = max(float(np.sort(known)[len(known) // 2]), 1e-9)
    far = np.abs(centre[:, :, 1:] - centre[:, :, :-1]).max(0) > 2 * ELSEWHERE * usual
    whole = size > WHOLE * usual  # a few joints have their centre anywhere
    far &= whole[:, 1:] & whole[:, :-1]
    if not far.any():
        return None
    person, frame = (int(at[0]) for at in np.nonzero(far))
    message = (
        f"{int(far.sum())} times the body is elsewhere from one frame to the next (first at frame {frame + 1} of "
        f"person {person}): are these different people, or were frames cut out?"
    )
    return Finding("person_jumps", message, FIELD)


def order_by_track(
    values: Array, ids: list[list[Any]], most: int, found: ProblemCollector
) -> tuple[Array, Finding | None]:
    """People by their track ids, in order of appearance; the tracks of most frames where there are too many.

    Args:
        values: ``(T, P, J, C)``.
        ids: ``(T, P)`` ids; None where nobody is.
        most: How many people a clip may have.
        found: Takes the problem of an id that occurs twice in a frame.
    """
    counts: Counter[Any] = Counter()
    for t, row in enumerate(ids):
        known = [track for track in row if track is not None]
        if len(set(known)) < len(known):
            found.add(f"track_ids[{t}]", "duplicate_track", f"an id occurs twice in frame {t}")
            return values, None
        counts.update(known)
    kept = {track for track, _ in counts.most_common(most)}
    slots = {track: slot for slot, track in enumerate(track for track in counts if track in kept)}
    if not slots:
        return values, None
    arranged = np.full((len(values), len(slots), *values.shape[2:]), np.nan, values.dtype)
    for t, row in enumerate(ids):
        for p, track in enumerate(row):
            if track in slots:
                arranged[t, slots[track]] = values[t, p]
    if len(counts) > len(slots):
        message = f"{len(counts)} tracks; the {len(slots)} that are seen in most frames were kept"
        return arranged, Finding("tracks_dropped", message, FIELD)
    return arranged, None


def read_track_ids(value: object, frames: int, people: list[int], found: ProblemCollector) -> list[list[Any]] | None:
    """``track_ids``: a list for each frame with one id for each person of it; null where nobody is.

    Args:
        value: As sent.
        frames: T.
        people: How many people each frame has.
        found: Takes the problems.
    """
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or len(value) != frames:
        shown = f"{len(value)} entries" if isinstance(value, (list, tuple)) else preview(value)
        found.add(
            "track_ids", "bad_track_ids", f"track_ids has {shown}; one list for each of {frames} frames is needed"
        )
        return None
    rows = []
    for t, (row, count) in enumerate(zip(value, people, strict=True)):
        row = [] if row is None else [row] if isinstance(row, (int, str)) else row
        if not isinstance(row, (list, tuple)) or len(row) > count or (row and len(row) < count):
            found.add(
                f"track_ids[{t}]", "bad_track_ids", f"{preview(row)}: one id for each of {count} people is needed"
            )
            continue
        if any(not (track is None or isinstance(track, str) or type(track) is int) for track in row):
            found.add(f"track_ids[{t}]", "bad_track_ids", "ids are whole numbers, text or null")
            continue
        rows.append(list(row))
    return rows if len(rows) == frames else None
