"""From a clip of any layout, unit and camera to windows of 64 frames of 17 canonical joints.

Letters: P people, N frames as sent, T frames of a window (64), J canonical joints (17), W windows.

A joint without a source in the layout, or unseen for longer than half a second, is masked and never invented. A 3-D
clip is turned about the vertical until the person faces the camera, then looked at from there; its depth is kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from skeleton_prompt.clips.canonical_skeleton import CANONICAL, FRAMES
from skeleton_prompt.clips.clip import Clip, InvalidClip, Problem
from skeleton_prompt.clips.findings import Finding
from skeleton_prompt.clips.plausibility import LIMBS, joint_warnings, warnings_about
from skeleton_prompt.clips.units import to_square_pixels

GAP_SECONDS = 0.5
WINDOW_SECONDS = 10.0
JOINT = {name: index for index, name in enumerate(CANONICAL)}
FALLBACK_JOINTS = (
    (JOINT["root"], (JOINT["rhip"], JOINT["lhip"])),
    (JOINT["thorax"], (JOINT["rshoulder"], JOINT["lshoulder"])),
    (JOINT["spine"], (JOINT["root"], JOINT["thorax"])),
)
SIDE_PAIRS = (("rhip", "lhip"), ("rshoulder", "lshoulder"))
MAX_OFFSET = 10.0  # in units of the person's half extent; beyond that a joint is an error that must not reach the model
FILLED = 0.5  # the confidence of an interpolated joint

Array = np.ndarray[Any, np.dtype[np.float32]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]
Places = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class PreparedPerson:
    """One person of one clip, ready for the engine.

    Attributes:
        pose: ``(W, T, J, 3)`` float32: x, y (y down, about -1 to 1) and confidence 0 to 1; zeros where not seen.
        depth: ``(W, T, J)`` float32: for 3-D input the depth in the same scale, away from the camera; else zeros.
        has_depth: Whether the clip was 3-D.
        log_seconds: ``(W,)`` float32, natural logarithm of each window's true duration in seconds.
        visible: Share of the canonical joints that the layout can have, over all frames, seen before gaps were filled.
        frames: How many frames show the person, as sent.
        motion: Mean path of the visible joints over the clip, in its own unit; chooses the main person.
    """

    pose: Array
    depth: Array
    has_depth: bool
    log_seconds: Array
    visible: float
    frames: int
    motion: float


@dataclass(frozen=True)
class Quality:
    """What was done to a clip, as every answer says.

    Attributes:
        joints_missing: Share of the joints that were not seen, of those that the layout can have and those of the
            limbs, which every layout should have.
        frames_without_person: Frames in which nobody was seen.
        gaps_filled: Joint positions interpolated over gaps of up to half a second.
        frames_resampled: Frames as sent, if they were resampled to 64 per window, else 0.
        ignored_joints: Joints of the layout that no role knows.
        warnings: What looks wrong; each a sentence with a code and the field that would settle it.
        notes: What was assumed or mended, likewise.
        missing_joints: Joints of the limbs that the layout does not have.
    """

    joints_missing: float
    frames_without_person: int
    gaps_filled: int
    frames_resampled: int
    ignored_joints: tuple[str, ...]
    warnings: tuple[Finding, ...]
    notes: tuple[Finding, ...] = ()
    missing_joints: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The quality report as the API gives it."""
        return {
            "joints_missing": round(self.joints_missing, 4),
            "frames_without_person": self.frames_without_person,
            "gaps_filled": self.gaps_filled,
            "frames_resampled": self.frames_resampled,
            "ignored_joints": list(self.ignored_joints),
            "missing_joints": list(self.missing_joints),
            "notes": [note.to_dict() for note in self.notes],
            "warnings": [warning.to_dict() for warning in self.warnings],
        }


def prepare(clip: Clip) -> tuple[list[PreparedPerson], Quality]:
    """Everything between a parsed clip and the engine.

    Args:
        clip: Any layout, 2-D (y down) or 3-D (metres, y up), any number of people.

    Returns:
        One ``PreparedPerson`` per person, in order, and what was done. A person of whom nothing is visible, beside
        others who are, has ``visible`` 0.

    Raises:
        InvalidClip: If nobody is visible in any frame (rule ``nothing_visible``).
    """
    positions, seen, confidence = to_canonical(clip)
    if not seen.any():
        message = "no joint that the model knows is visible in any frame"
        raise InvalidClip((Problem("keypoints", "nothing_visible", message),))
    D, sent = positions.shape[-1], positions.shape[1]
    warnings = [*clip.warnings, *joint_warnings(clip.layout)]
    warnings += warnings_about(
        clip.layout,
        positions.reshape(-1, len(CANONICAL), D),
        seen.reshape(-1, len(CANONICAL)),
        clip.positions.reshape(-1, len(clip.layout.joints), D),
    )
    scale, notes, fractions = to_square_pixels(clip)
    positions *= scale
    warnings += fractions
    available = clip.layout.available
    lacking = [index for index in LIMBS if not available[index]]
    possible = sent * np.count_nonzero(available)  # what the layout lacks is never seen
    people, filled = [], 0
    for pose, shown, trust in zip(positions, seen, confidence, strict=True):
        pose, whole, gaps = fill_gaps(pose, shown, max(1, int(GAP_SECONDS * clip.fps + 1e-6)))
        filled += gaps
        if D == 3:
            pose = turn_to_front(pose, whole)
        visible, frames = float(np.count_nonzero(shown) / possible), int(np.count_nonzero(shown.any(1)))
        people.append(windows(pose, whole, trust, clip.fps, visible, frames))
    present = [person for person in people if person.visible > 0]
    quality = Quality(
        joints_missing=1 - sum(person.visible for person in present) / len(present) * _share(available, lacking),
        frames_without_person=int((~seen.any((0, 2))).sum()),
        gaps_filled=filled,
        frames_resampled=0 if sent == FRAMES else sent,
        ignored_joints=clip.layout.unknown,
        warnings=tuple(warnings),
        notes=(*clip.notes, *notes),
        missing_joints=tuple(CANONICAL[index] for index in lacking),
    )
    return people, quality


def _share(available: Mask, lacking: list[int]) -> float:
    """Share of the joints that the layout can have among these and the joints of the limbs."""
    count = int(np.count_nonzero(available))
    return count / (count + len(lacking))


def to_canonical(clip: Clip) -> tuple[Array, Mask, Array]:
    """Positions ``(P, N, J, D)``, which are seen ``(P, N, J)``, and their confidence ``(P, N, J)``.

    A canonical joint is a weighted sum of the layout's joints and as good as the weakest of them.
    """
    layout = clip.layout
    given = np.where(np.isnan(clip.positions), np.float32(0), clip.positions)
    positions: Array = np.matmul(layout.matrix, given)
    confidence: Array = clip.confidence[:, :, layout.gather].min(-1) * layout.available
    for joint, (a, b) in FALLBACK_JOINTS:
        # A clip centred on its root has the root at exactly 0 throughout, which reads as never seen.
        if layout.available[joint] and not confidence[:, :, joint].any():
            positions[:, :, joint] = (positions[:, :, a] + positions[:, :, b]) / 2
            confidence[:, :, joint] = np.minimum(confidence[:, :, a], confidence[:, :, b])
    return positions, confidence > 0, confidence


def fill_gaps(pose: Array, seen: Mask, longest: int) -> tuple[Array, Mask, int]:
    """Interpolate each joint over gaps of at most ``longest`` frames that have both ends.

    Args:
        pose: ``(N, J, D)``.
        seen: ``(N, J)``.
        longest: In frames.

    Returns:
        The filled pose, what may now be used, and how many positions were filled.
    """
    N = len(pose)
    # Most joints are seen throughout or never, and those have nothing to fill.
    joints = np.flatnonzero(seen.any(0) & ~seen.all(0))
    if not len(joints):
        return pose, seen, 0
    known = seen[:, joints]
    frame = np.arange(N)[:, None]
    before = np.maximum.accumulate(np.where(known, frame, -1), axis=0)
    after = np.minimum.accumulate(np.where(known, frame, N)[::-1], axis=0)[::-1]
    at, column = np.nonzero(~known & (before >= 0) & (after < N) & (after - before - 1 <= longest))
    if not len(at):
        return pose, seen, 0
    low, high, joint = before[at, column], after[at, column], joints[column]
    part = ((at - low) / (high - low))[:, None].astype(np.float32)
    pose, seen = pose.copy(), seen.copy()
    pose[at, joint] = pose[low, joint] * (1 - part) + pose[high, joint] * part
    seen[at, joint] = True
    return pose, seen, len(at)


def front_axis(pose: Array, seen: Mask) -> tuple[float, float]:
    """Direction (x, z) across hips and shoulders, right to left, as its median over a 3-D clip; length 1.

    (1, 0) where no such axis is ever seen, or where the person turns so evenly that there is no direction.
    """
    across = []
    for right, left in SIDE_PAIRS:
        both = seen[:, JOINT[right]] & seen[:, JOINT[left]]
        across.append((pose[:, JOINT[left]] - pose[:, JOINT[right]])[both])
    axes = np.concatenate(across)
    if not len(axes):
        return 1.0, 0.0
    x, z = (float(value) for value in np.median(axes[:, [0, 2]], axis=0))
    size = math.hypot(x, z)
    return (x / size, z / size) if size > 1e-6 else (1.0, 0.0)


def seen_from_front(points: Array, axis: tuple[float, float]) -> Array:
    """Look at (..., 3) points, y up, so that ``axis`` lies along +x: x right, y down, z away from the camera."""
    c, s = axis
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    return np.stack((c * x + s * z, -y, s * x - c * z), -1)


def turn_to_front(pose: Array, seen: Mask) -> Array:
    """Turn a 3-D person (N, J, 3), y up, to face the camera, and look from there.

    The axis across hips and shoulders, right to left, is laid along +x: the person's right then appears at the image's
    left, as when somebody faces a camera.
    """
    return seen_from_front(pose, front_axis(pose, seen))


def windows(pose: Array, seen: Mask, confidence: Array, fps: float, visible: float, frames: int) -> PreparedPerson:
    """Cut one person into windows of at most 10 s, resample each to 64 frames and normalise it.

    Args:
        pose: ``(N, J, D)``, y down.
        seen: ``(N, J)``, after gaps were filled.
        confidence: ``(N, J)``; filled positions count as 0.5.
        fps: Frames per second as sent.
        visible: See ``PreparedPerson``.
        frames: See ``PreparedPerson``.
    """
    N, J, D = pose.shape
    count = max(1, math.ceil(N / fps / WINDOW_SECONDS - 1e-9))
    low, high, part = _few_moments(N, count) if count <= 4 else _moments(N, count)
    # A frame that falls on a frame as sent needs no neighbour.
    shown = seen.take(low, 0) & (seen.take(high, 0) | (part == 0))
    trust = np.where(seen, np.where(confidence > 0, confidence, FILLED), 0)
    weight = np.where(shown, trust.take(low, 0) * (1 - part) + trust.take(high, 0) * part, 0).astype(np.float32)
    points = pose.take(low, 0) * (1 - part[..., None]) + pose.take(high, 0) * part[..., None]
    placed = np.zeros((count, FRAMES, J, 3), dtype=np.float32)
    depth = np.zeros((count, FRAMES, J), dtype=np.float32)
    sizes = np.zeros(count)
    for w in range(count):
        mine = shown[w]
        if not mine.any():
            continue
        low_edge, middle, high_edge = spread(points[w][mine])
        sizes[w] = max(float((high_edge - low_edge)[:2].max()), 1e-6)
        centred = np.clip((points[w] - middle) * (2 / sizes[w]), -MAX_OFFSET, MAX_OFFSET) * mine[..., None]
        placed[w, ..., :2] = centred[..., :2]
        if D == 3:
            depth[w] = centred[..., 2]
    placed[..., 2] = weight
    seconds = np.full(count, max(N / fps / count, 1e-2))
    log_seconds = np.log(seconds).astype(np.float32)
    return PreparedPerson(placed, depth, D == 3, log_seconds, visible, frames, motion(placed, sizes))


def _moments(N: int, count: int) -> tuple[Places, Places, Array]:
    """Frames before and after each of the ``(count, FRAMES)`` moments of N frames, and how far between ``(…, 1)``."""
    edges = np.linspace(0, N - 1, count + 1)
    index = edges[:-1, None] + (edges[1:] - edges[:-1])[:, None] * np.linspace(0, 1, FRAMES)[None]
    low = np.floor(index).astype(np.int64)
    return low, np.minimum(low + 1, N - 1), (index - low).astype(np.float32)[..., None]


_few_moments = lru_cache(maxsize=512)(_moments)  # of short clips, whose tables are small


def spread(points: Array) -> Array:
    """2.5th, 50th and 97.5th percentile of (K, D) points along each axis, as ``np.percentile`` interpolates them."""
    ordered = np.sort(np.ascontiguousarray(points.T), axis=1)
    place = np.array((0.025, 0.5, 0.975)) * (ordered.shape[1] - 1)
    low = place.astype(np.int64)
    part = (place - low).astype(np.float32)
    upper = ordered[:, np.minimum(low + 1, ordered.shape[1] - 1)]
    return np.asarray((ordered[:, low] * (1 - part) + upper * part).T, np.float32)


def motion(placed: Array, sizes: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Mean path of the visible joints in the clip's own unit, so that the larger of two people counts."""
    shown = placed[..., 2] > 0
    both = shown[:, 1:] & shown[:, :-1]
    steps = placed[:, 1:, :, :2] - placed[:, :-1, :, :2]
    paths = (np.hypot(steps[..., 0], steps[..., 1]) * both).sum((1, 2)) * sizes / 2
    return float(paths.sum() / (shown.shape[0] * shown.shape[2]))
