"""Frames per second and timestamps.

Letters: P people, T frames, J joints, D dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from skeleton_prompt.clips.findings import Finding
from skeleton_prompt.clips.validation import ProblemCollector, number, preview

Array = np.ndarray[Any, np.dtype[np.float32]]
Times = np.ndarray[Any, np.dtype[np.float64]]

MIN_FPS, MAX_FPS = 0.1, 1000.0
DEFAULT_FPS = 30.0
GAP_SECONDS = 0.5
EVEN = 0.1  # of the usual step: frames that are farther from an even grid are resampled
AGREE = 0.1  # of fps, by which the timestamps may differ without a note
OTHER_NAMES = (
    "frame_rate", "frameRate", "framerate", "FPS", "Fps", "frames_per_second", "timestamp", "times", "time",
    "timestamps_ms", "timestamp_ms", "time_ms", "frame_times", "sample_rate", "sampling_rate",
)  # fmt: skip


def read_fps(document: Mapping[str, Any], found: ProblemCollector, notes: list[Finding]) -> float:
    """``fps``, 30 where neither it nor ``timestamps`` is sent; 0 if a problem was found."""
    value = document.get("fps")
    if value is None:
        if document.get("timestamps") is None:
            other = next((name for name in OTHER_NAMES if document.get(name) is not None), None)
            if other is not None:
                message = (
                    f"there is no field {other!r}: send fps (frames per second) or timestamps (seconds, one a frame)"
                )
                found.add(other, "unknown_time_field", message)
                return 0.0
            notes.append(Finding("fps_assumed", "fps was not sent: 30 frames per second were assumed", "fps"))
        return DEFAULT_FPS
    fps = number(value)
    if fps is None:
        found.add("fps", "not_a_number", f"fps is {preview(value)}; it must be a finite number")
    elif not MIN_FPS <= fps <= MAX_FPS:
        found.add("fps", "fps_out_of_range", f"fps is {fps:g}; from {MIN_FPS:g} to {MAX_FPS:g} frames per second")
    else:
        return fps
    return 0.0


def read_timestamps(document: Mapping[str, Any], frames: int, found: ProblemCollector) -> Times | None:
    """``timestamps`` in seconds, ``(T,)`` and increasing; None where absent or wrong."""
    value = document.get("timestamps")
    if value is None:
        return None
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, (list, tuple)) or len(value) != frames:
        shown = f"{len(value)} values" if isinstance(value, (list, tuple)) else preview(value)
        message = f"timestamps is {shown}; a list of seconds, one for each of {frames} frames, is needed"
        found.add("timestamps", "bad_timestamps", message)
        return None
    read = [number(each) for each in value]
    for t, (time, sent) in enumerate(zip(read, value, strict=True)):
        if time is None:
            found.add(f"timestamps[{t}]", "not_a_number", f"{preview(sent)} is not a finite number of seconds")
    if None in read:
        return None
    times = np.array(read, np.float64)
    steps = np.diff(times)
    for t in np.flatnonzero(steps <= 0)[:100]:
        message = (
            f"frame {t + 1} is at {times[t + 1]:g} s, not after frame {t} at {times[t]:g} s; timestamps must increase"
        )
        found.add(f"timestamps[{t + 1}]", "not_increasing", message)
    if not len(steps) or (steps <= 0).any():
        return None
    fps = 1 / float(np.median(steps))
    if not MIN_FPS <= fps <= MAX_FPS:
        unit = "; are these milliseconds? Divide by 1000" if fps < MIN_FPS else ""
        message = (
            f"a step of {1 / fps:g} s between frames is {fps:g} frames per second; from {MIN_FPS:g} to {MAX_FPS:g}"
        )
        found.add("timestamps", "fps_out_of_range", message + unit)
        return None
    return times


def usual_rate(times: Times) -> float:
    """Frames per second by the median step."""
    return 1 / float(np.median(np.diff(times)))


def apply_timestamps(
    positions: Array, confidence: Array, times: Times, sent_fps: float | None, most: int, notes: list[Finding]
) -> tuple[Array, Array, float]:
    """Frames at even steps, and their number per second.

    Args:
        positions: ``(P, T, J, D)``, NaN where not seen.
        confidence: ``(P, T, J)``.
        times: ``(T,)`` seconds, increasing.
        sent_fps: The clip's ``fps``, None if not sent.
        most: Frames that a clip may have.
        notes: Takes what was done.

    Returns:
        Positions and confidence, linearly interpolated where the steps are uneven; frames inside a gap of more than
        half a second are unseen. Frames per second.
    """
    T = len(times)
    span = float(times[-1] - times[0])
    even = np.linspace(times[0], times[-1], T)
    step = span / (T - 1)
    fps = 1 / step
    if np.abs(times - even).max() > EVEN * step:
        fps = usual_rate(times)
        count = min(max(2, round(span * fps) + 1), most)
        fps = (count - 1) / span
        positions, confidence = _resample(positions, confidence, times, count)
        message = f"uneven timestamps: {T} frames were resampled to {count} at {fps:.4g} frames per second"
        notes.append(Finding("timestamps_resampled", message, "timestamps"))
    if sent_fps is not None and abs(sent_fps / fps - 1) > AGREE:
        message = f"fps {sent_fps:g} contradicts the timestamps, which mean {fps:.4g}; the timestamps were used"
        notes.append(Finding("fps_overruled", message, "fps"))
    return positions, confidence, min(max(fps, MIN_FPS), MAX_FPS)


def _resample(positions: Array, confidence: Array, times: Times, count: int) -> tuple[Array, Array]:
    """Linear interpolation at ``count`` even moments; unseen where a neighbour is unseen or more than 0.5 s apart."""
    moments = np.linspace(times[0], times[-1], count)
    high = np.clip(np.searchsorted(times, moments, side="left"), 1, len(times) - 1)
    low = high - 1
    wide = times[high] - times[low]
    part = np.clip((moments - times[low]) / wide, 0, 1).astype(np.float32)
    at_low, at_high = part <= 1e-3, part >= 1 - 1e-3
    part[at_low], part[at_high] = 0, 1
    inside = ~at_low & ~at_high
    share = part[None, :, None]
    before, after = confidence[:, low], confidence[:, high]
    trust = np.where(share == 0, before, np.where(share == 1, after, np.minimum(before, after)))
    trust = np.where((inside & (wide > GAP_SECONDS))[None, :, None], np.float32(0), trust)
    first, second = positions[:, low], positions[:, high]
    weight = share[..., None]
    points = np.where(weight == 0, first, np.where(weight == 1, second, first * (1 - weight) + second * weight))
    points = np.where((trust > 0)[..., None], points, np.float32(np.nan))
    return points.astype(np.float32), trust.astype(np.float32)


def frames_hint(start: float, end: float) -> str:
    """A question for segments that end after the clip and whose ends are whole numbers."""
    whole = start == math.floor(start) and end == math.floor(end)
    return "; are start and end frame numbers? They are in seconds: divide by fps" if whole else ""
