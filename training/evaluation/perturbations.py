"""Other views of the same clip: joints or frames gone, jitter, and the joints that another layout would have.

A view changes the clip as it was sent, before anything is normalised, so that every method sees the same clip. What is
drawn depends on the set, the clip and the kind of damage alone: the joints that go at 3 are among those that go at 5.

Letters: P people, T frames, J joints, D dimensions.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from skeleton_prompt.clips.canonical_skeleton import CANONICAL
from skeleton_prompt.clips.clip import Clip
from skeleton_prompt.clips.layouts import Layout, get_layout

WHOLE = "whole"
JOINTS_GONE = (1, 3, 5, 8)
FRAMES_GONE = (10, 30, 50)  # per cent
JITTER = 0.02  # of the body's extent
LAYOUTS = ("coco17", "penn13", "jhmdb15")
LIMBS = {
    "arms": ("lelbow", "lwrist", "relbow", "rwrist"),
    "legs": ("lknee", "lankle", "rknee", "rankle"),
}
DAMAGES = (
    *(f"joints-{count}" for count in JOINTS_GONE),
    *LIMBS,
    *(f"frames-{share}" for share in FRAMES_GONE),
    "jitter",
)
Draw = np.random.Generator


def view_clip(view: str, clip: Clip, set_name: str, index: int) -> Clip:
    """A clip through a view.

    Args:
        view: ``whole``, one of ``DAMAGES``, or ``as-`` and the name of a layout.
        clip: As sent.
        set_name: Of the set.
        index: Of the clip in its set; what is drawn follows from it.

    Raises:
        LookupError: If there is no such view.
    """
    kind, _, detail = view.partition("-")
    changes: dict[str, Callable[[Draw], Clip]] = {
        "whole": lambda _: clip,
        "joints": lambda draw: without_joints(clip, drawn_joints(clip, int(detail), draw)),
        "arms": lambda _: without_joints(clip, joints_of(clip.layout, LIMBS["arms"])),
        "legs": lambda _: without_joints(clip, joints_of(clip.layout, LIMBS["legs"])),
        "frames": lambda draw: without_frames(clip, int(detail) / 100, draw),
        "jitter": lambda draw: jittered(clip, draw),
        "as": lambda _: through_layout(clip, get_layout(detail)),
    }
    if kind not in changes:
        raise LookupError(f"there is no view {view!r} of a clip; there are: {WHOLE}, {', '.join(DAMAGES)}, as-LAYOUT")
    return changes[kind](np.random.default_rng([zlib.crc32(f"{set_name} {kind}".encode()), index]))


def read_joints(layout: Layout) -> np.ndarray:
    """Indices of the joints from which the model's joints are made: the loss of any other would be none."""
    return np.array(sorted({joint for source in layout.sources for joint, _ in source}), dtype=np.int64)


def drawn_joints(clip: Clip, count: int, draw: Draw) -> np.ndarray:
    """Some of the joints that the clip shows at all; at least one is left."""
    shown = np.array([joint for joint in read_joints(clip.layout) if clip.confidence[:, :, joint].any()], np.int64)
    return draw.permutation(shown)[: min(count, max(0, len(shown) - 1))]


def joints_of(layout: Layout, roles: Sequence[str]) -> np.ndarray:
    """Joints of a layout by what they are, with the hands and feet beyond them."""
    beyond = {f"{role[0]}{part}" for role in roles for part in BEYOND.get(role[1:], ())}
    return np.array([i for i, role in enumerate(layout.roles) if role in beyond or role in roles], dtype=np.int64)


BEYOND = {"wrist": ("hand", "hand_tip", "thumb", "index", "pinky"), "ankle": ("toe", "small_toe", "heel", "foot")}


def without_joints(clip: Clip, joints: np.ndarray) -> Clip:
    """A clip that lacks joints throughout."""
    gone = np.zeros(clip.confidence.shape, dtype=bool)
    gone[:, :, joints] = True
    return _without(clip, gone)


def without_frames(clip: Clip, share: float, draw: Draw) -> Clip:
    """A clip that lacks a share of its frames, anywhere in it."""
    order = draw.permutation(clip.frames)
    gone = np.zeros(clip.confidence.shape, dtype=bool)
    gone[:, order[: round(share * clip.frames)]] = True
    return _without(clip, gone)


def _without(clip: Clip, gone: np.ndarray) -> Clip:
    positions = np.where(gone[..., None], np.float32(np.nan), clip.positions)
    return replace(clip, positions=positions, confidence=np.where(gone, np.float32(0), clip.confidence))


def jittered(clip: Clip, draw: Draw) -> Clip:
    """A clip whose joints are off by Gaussian noise of 2 % of the body's extent, its larger side in a typical frame."""
    seen = np.where((clip.confidence > 0)[..., None], clip.positions, np.nan)
    shown = np.isfinite(seen).any((0, 2, 3))
    if not shown.any():
        return clip
    sides = np.nanmax(seen[:, shown], (0, 2)) - np.nanmin(seen[:, shown], (0, 2))  # (T, D)
    noise = draw.normal(0, JITTER * float(np.median(sides.max(-1))), clip.positions.shape)
    return replace(clip, positions=(clip.positions + noise).astype(np.float32))


def through_layout(clip: Clip, layout: Layout) -> Clip:
    """The same clip in the layout of another pose estimator.

    A joint of the other layout is the clip's own joint of the same role, or what the model would put in its place; what
    the clip has nothing for, such as eyes, is not seen.
    """
    own = clip.layout
    shape = (*clip.confidence.shape[:2], len(layout.joints))
    positions = np.full((*shape, clip.positions.shape[-1]), np.nan, dtype=np.float32)
    confidence = np.zeros(shape, dtype=np.float32)
    for target, role in enumerate(layout.roles):
        if role is None:
            continue
        source: Sequence[tuple[int, float]] = ()
        if role in own.roles:
            source = ((own.roles.index(role), 1.0),)
        elif role in CANONICAL:
            source = own.sources[CANONICAL.index(role)]
        if not source:
            continue
        joints = [joint for joint, _ in source]
        weights = np.array([weight for _, weight in source], dtype=np.float32)
        positions[:, :, target] = np.einsum("ptjd,j->ptd", clip.positions[:, :, joints], weights)
        confidence[:, :, target] = clip.confidence[:, :, joints].min(-1)
    confidence[~np.isfinite(positions).all(-1)] = 0
    return replace(clip, positions=positions, confidence=confidence, layout=layout)
