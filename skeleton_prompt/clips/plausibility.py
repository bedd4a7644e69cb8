"""Does a clip look like a person, upright and the right way round? Warnings only: nothing is changed or refused.

The thresholds were set so that nearly all clips of nine public sets pass and the usual mistakes do not: joints in
another order, a y axis upside down, a 3-D clip mirrored by negating one axis.

Letters: F frames of all people, J canonical joints (17), D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from skeleton_prompt.clips.canonical_skeleton import CANONICAL, CANONICAL_EDGES
from skeleton_prompt.clips.findings import Finding
from skeleton_prompt.clips.layouts import Layout, get_layout, layout_names

Array = np.ndarray[Any, np.dtype[np.floating[Any]]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

JOINT = {name: index for index, name in enumerate(CANONICAL)}
SAMPLED = 24  # frames looked at; warnings are about the clip, not about a moment
LONG_BONE = 0.62  # of the person's extent; a straight leg is about 0.25 for each of its bones
WRONG_ORDER = 0.30  # mean bone over extent; people have 0.12 to 0.24, joints in a wrong order 0.3 to 0.5
CLEARLY_BETTER = 0.75
STRAY_TRUNK = 0.2  # of the extent; Kinect's hip centre is 0.06 above the hips
UPSIDE_DOWN = 0.35
BACKWARD_FEET, BACKWARD_KNEES = 0.015, 0.03
FEW_JOINTS = 9  # of 17: with fewer, names were probably not understood
LIMBS = [JOINT[side + name] for name in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist") for side in "lr"]
_FROM, _TO = np.array(CANONICAL_EDGES).T
_HEAD = [JOINT[name] for name in ("head_top", "nose", "thorax")]
_HIPS = [JOINT[name] for name in ("rhip", "lhip")]
_FEET = [JOINT[name] for name in ("rankle", "lankle", "rknee", "lknee")]
_LEVELS = np.zeros((len(CANONICAL), 3), np.float32)
for _column, _part in enumerate((_HEAD, _HIPS, _FEET)):
    _LEVELS[_part, _column] = 1


@dataclass(frozen=True)
class _Sample:
    """Some frames of a clip: (F, J, D) positions, (F, J) seen, the extent of the person, and bones in its unit."""

    positions: Array
    seen: Mask
    extent: float
    bones: Array  # (16,) mean length over the extent of each canonical bone
    shown: Mask  # (16,) bones that are ever seen whole

    @classmethod
    def of(cls, positions: Array, seen: Mask) -> _Sample:
        low = np.where(seen[..., None], positions, np.inf).min(1)
        high = np.where(seen[..., None], positions, -np.inf).max(1)
        extent = max(_median((high - low).max(-1)), 1e-9)
        both = seen[:, _FROM] & seen[:, _TO]
        steps = positions[:, _FROM] - positions[:, _TO]
        lengths = np.sqrt((steps * steps).sum(-1)) * both
        counts = both.sum(0)
        return cls(positions, seen, extent, lengths.sum(0) / np.maximum(counts, 1) / extent, counts > 0)

    def mean_bone(self) -> float:
        """Mean over the bones that are seen; 0 with fewer than five, which tell nothing."""
        return float(self.bones[self.shown].mean()) if self.shown.sum() >= 5 else 0.0


def _median(values: Array) -> float:
    """The median of (N,) numbers, N at least 1 and none NaN; ``np.median`` takes ten times as long on so few."""
    ordered = np.sort(values)
    half = len(ordered) // 2
    return float(ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2)


@lru_cache(maxsize=512)
def _spaced(frames: int) -> np.ndarray[Any, np.dtype[np.int_]]:
    """``SAMPLED`` of so many frames, evenly spaced from the first to the last."""
    return np.linspace(0, frames - 1, SAMPLED).astype(int)


def warnings_about(layout: Layout, positions: Array, seen: Mask, raw: Array) -> list[Finding]:
    """What looks wrong about a clip.

    Args:
        layout: its layout.
        positions: (F, J, D) canonical positions of all people's frames; 2-D y down, 3-D y up.
        seen: (F, J).
        raw: (F, joints of the layout, D) as sent, NaN where not seen.
    """
    kept = np.flatnonzero(seen.sum(1) >= 6)
    if not len(kept):
        return []
    if len(kept) > SAMPLED:
        kept = kept[_spaced(len(kept))]
    sample, raw = _Sample.of(positions[kept], seen[kept]), raw[kept]
    result = _order(layout, sample, raw) or _long_bones(sample)
    if _upside_down(sample):
        message = "y axis looks flipped: the head is below the hips and these below the feet; see y_axis"
        result.append(Finding("upside_down", message, "y_axis"))
    elif not result and positions.shape[-1] == 3 and _mirrored(layout, sample, raw):
        message = (
            "the clip looks mirrored: feet, knees or nose point backwards; is left taken for right, or one axis "
            'negated? See handedness ("left" for Unity and Unreal) and mirrored'
        )
        result.append(Finding("mirrored", message, "handedness"))
    return result


def joint_warnings(layout: Layout) -> list[Finding]:
    """Joints that the model needs and the names of a custom layout do not give."""
    missing = [CANONICAL[index] for index in LIMBS if not layout.available[index]]
    few = int(layout.available.sum()) < FEW_JOINTS
    if not few and not (missing and layout.unknown):
        return []
    unknown = f"; unknown names: {', '.join(layout.unknown[:6])}" if layout.unknown else ""
    message = (
        f"the layout has {int(layout.available.sum())} of {len(CANONICAL)} joints that the model uses; not found: "
        f"{', '.join(missing)}{unknown}"
    )
    return [Finding("joints_not_found", message, "layout")]


def _order(layout: Layout, sample: _Sample, raw: Array) -> list[Finding]:
    """Bones that are long on the whole, or a trunk beside the body: names a layout that fits better, if one does."""
    mean = sample.mean_bone()
    stray = _stray_trunk(layout, sample)
    if mean < WRONG_ORDER and not stray:
        return []
    limit = mean if stray else CLEARLY_BETTER * mean
    better = []
    for name in layout_names():
        other = get_layout(name)
        if name != layout.name and len(other.joints) == raw.shape[1]:
            mapped = np.matmul(other.matrix, np.nan_to_num(raw))
            sent = np.asarray(~np.isnan(raw).any(axis=-1))
            usable = sent[:, other.gather].all(-1) & other.available
            guess = _Sample.of(mapped, usable)
            if 0 < guess.mean_bone() < limit and not _stray_trunk(other, guess):
                better.append((guess.mean_bone(), name))
    hint = f"; {min(better)[1]} would fit" if better else ""
    message = f"implausible bone lengths for layout {layout.name}: likely the wrong layout or joint order{hint}"
    return [Finding("wrong_layout", message, "layout")]


def _stray_trunk(layout: Layout, sample: _Sample) -> bool:
    """A root far from the hips or a thorax far from the shoulders, as when only the trunk's joints are in disorder."""
    for centre, left, right in (("root", "lhip", "rhip"), ("thorax", "lshoulder", "rshoulder")):
        if len(layout.sources[JOINT[centre]]) != 1:
            continue  # made from the pair itself
        i, j, k = JOINT[centre], JOINT[left], JOINT[right]
        rows = sample.seen[:, i] & sample.seen[:, j] & sample.seen[:, k]
        if rows.sum() >= 2:
            gap = sample.positions[rows, i] - (sample.positions[rows, j] + sample.positions[rows, k]) / 2
            if _median(np.sqrt((gap * gap).sum(-1))) > STRAY_TRUNK * sample.extent:
                return True
    return False


def _long_bones(sample: _Sample) -> list[Finding]:
    """Single bones much longer than any body has."""
    odd = [f"{CANONICAL[_FROM[k]]} to {CANONICAL[_TO[k]]}" for k in np.flatnonzero(sample.bones > LONG_BONE)]
    if not odd:
        return []
    return [Finding("implausible_bones", f"implausible bone lengths: {', '.join(odd[:4])}", "keypoints")]


def _upside_down(sample: _Sample) -> bool:
    """Head below hips below feet in nearly all frames, by more than a lying person's unevenness."""
    up = 1.0 if sample.positions.shape[-1] == 3 else -1.0
    height = up * sample.positions[..., 1] * sample.seen
    counts = sample.seen @ _LEVELS
    head, hips, feet = ((height @ _LEVELS) / np.maximum(counts, 1)).T
    with_head, with_hips, with_feet = (counts > 0).T
    rows = with_head & with_hips & with_feet
    if rows.sum() < 2:
        rows, feet = with_head & with_hips, hips
        if rows.sum() < 2:
            return False
    order = (head[rows] < hips[rows]) & (hips[rows] <= feet[rows])
    return bool(order.mean() > 0.8) and _median(feet[rows] - head[rows]) > UPSIDE_DOWN * sample.extent


def _mirrored(layout: Layout, sample: _Sample, raw: Array) -> bool:
    """3-D only: by left and right the person faces one way, by feet (or else by knees) the other."""
    positions, seen = sample.positions, sample.seen
    across = positions[:, JOINT["rhip"]] - positions[:, JOINT["lhip"]]
    forward = np.stack((across[:, 2], -across[:, 0]), -1)  # up x right, in the (x, z) plane
    size = np.sqrt((forward * forward).sum(-1))
    rows = seen[:, JOINT["rhip"]] & seen[:, JOINT["lhip"]] & (size > 1e-6)
    forward /= np.maximum(size, 1e-6)[:, None]
    place = {role: index for index, role in enumerate(layout.roles) if role}
    feet: list[float] = []
    knees: list[float] = []
    for side in "rl":
        ankle, knee, hip = JOINT[side + "ankle"], JOINT[side + "knee"], JOINT[side + "hip"]
        if side + "toe" in place:
            foot = raw[:, place[side + "toe"]] - positions[:, ankle]
            ok = rows & seen[:, ankle] & ~np.isnan(foot).any(-1)
            feet += _forward(foot, forward, ok)
        bend = positions[:, knee] - (positions[:, hip] + positions[:, ankle]) / 2
        knees += _forward(bend, forward, rows & seen[:, ankle] & seen[:, knee] & seen[:, hip])
    if not knees or max(feet or knees) > 0:
        return False
    if feet:
        backward = np.mean(feet) < -BACKWARD_FEET * sample.extent
        return bool(backward and np.mean(knees) < BACKWARD_KNEES * sample.extent)
    return bool(np.mean(knees) < -BACKWARD_KNEES * sample.extent)


def _forward(steps: Array, forward: Array, rows: Mask) -> list[float]:
    """Median part of the (F, 3) steps that goes forward; empty with too few frames."""
    return [_median((steps[rows][:, [0, 2]] * forward[rows]).sum(-1))] if rows.sum() >= 2 else []
