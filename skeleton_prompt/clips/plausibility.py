"""Does a clip look like a person, upright and the right way round? Warnings only: nothing is changed or refused.

The thresholds were set so that nearly all clips of nine public sets pass and the usual mistakes do not: joints in
another order, a y axis upside down, a 3-D clip mirrored by negating one axis.

Letters: F frames of all people, J canonical joints (17), D dimensions.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from skeleton_prompt.clips.canonical_skeleton import CANONICAL
from skeleton_prompt.clips.findings import Finding
from skeleton_prompt.clips.layouts import Layout, get_layout, layout_names
from skeleton_prompt.clips.orientation import orientation_warnings
from skeleton_prompt.clips.pose_sample import FROM, JOINT, TO, Array, Mask, PoseSample, median

SAMPLED = 24  # frames looked at; warnings are about the clip, not about a moment
LONG_BONE = 0.62  # of the person's extent; a straight leg is about 0.25 for each of its bones
WRONG_ORDER = 0.30  # mean bone over extent; people have 0.12 to 0.24, joints in a wrong order 0.3 to 0.5
CLEARLY_BETTER = 0.75
STRAY_TRUNK = 0.2  # of the extent; Kinect's hip centre is 0.06 above the hips
LOPSIDED = 0.2  # of the extent, by which the bones of the legs may differ, the longer being at least thrice the shorter
MOST_JOINTS = 14  # of 17 that a layout of which the clip may be a part must have in it
FEW_JOINTS = 9  # of 17: with fewer, names were probably not understood
LIMBS = [JOINT[side + name] for name in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist") for side in "lr"]


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
    sample, raw = PoseSample.of(positions[kept], seen[kept]), raw[kept]
    result = _order(layout, sample, raw) or _long_bones(sample)
    result += orientation_warnings(layout, sample, raw, not result)
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


def _order(layout: Layout, sample: PoseSample, raw: Array) -> list[Finding]:
    """Bones that are long on the whole, or a trunk beside the body: names a layout that fits better, if one does."""
    mean, lopsided = sample.mean_bone(), sample.lopsided()
    stray = _stray_trunk(layout, sample)
    if mean < WRONG_ORDER and not stray and lopsided < LOPSIDED:
        return []
    # Legs that differ are also those of a foreshortened picture; then only a layout that explains them is told.
    doubtful = mean < WRONG_ORDER and not stray
    limit = mean if stray or doubtful else CLEARLY_BETTER * mean
    better = []
    for name in layout_names():
        other = get_layout(name)
        if name == layout.name or len(other.joints) < raw.shape[1]:
            continue
        guess = _read_as(other, raw)
        if guess is None or not 0 < guess.mean_bone() < limit or _stray_trunk(other, guess):
            continue
        if guess.lopsided() < (lopsided / 2 if doubtful else LOPSIDED):
            better.append((len(other.joints) > raw.shape[1], guess.mean_bone(), name))
    if doubtful and not better:
        return []
    hint = ""
    if better:
        cut, _, name = min(better)
        hint = f"; are these the first {raw.shape[1]} joints of {name}?" if cut else f"; {name} would fit"
    message = f"implausible bone lengths for layout {layout.name}: likely the wrong layout or joint order{hint}"
    return [Finding("wrong_layout", message, "layout")]


def _read_as(layout: Layout, raw: Array) -> PoseSample | None:
    """The frames read in another layout, or in its first joints; None where these are too few for a body."""
    J = raw.shape[1]
    whole = layout.available & (layout.gather < J).all(1)
    if whole.sum() < MOST_JOINTS:
        return None
    mapped = np.matmul(layout.matrix[:, :J], np.nan_to_num(raw))
    sent = np.asarray(~np.isnan(raw).any(axis=-1))
    usable = sent[:, np.minimum(layout.gather, J - 1)].all(-1) & whole
    return PoseSample.of(mapped, usable) if usable.any() else None


def _stray_trunk(layout: Layout, sample: PoseSample) -> bool:
    """A root far from the hips or a thorax far from the shoulders, as when only the trunk's joints are in disorder."""
    for centre, left, right in (("root", "lhip", "rhip"), ("thorax", "lshoulder", "rshoulder")):
        if len(layout.sources[JOINT[centre]]) != 1:
            continue  # made from the pair itself
        i, j, k = JOINT[centre], JOINT[left], JOINT[right]
        rows = sample.seen[:, i] & sample.seen[:, j] & sample.seen[:, k]
        if rows.sum() >= 2:
            gap = sample.positions[rows, i] - (sample.positions[rows, j] + sample.positions[rows, k]) / 2
            if median(np.sqrt((gap * gap).sum(-1))) > STRAY_TRUNK * sample.extent:
                return True
    return False


def _long_bones(sample: PoseSample) -> list[Finding]:
    """Single bones much longer than any body has."""
    odd = [f"{CANONICAL[FROM[k]]} to {CANONICAL[TO[k]]}" for k in np.flatnonzero(sample.bones > LONG_BONE)]
    if not odd:
        return []
    return [Finding("implausible_bones", f"implausible bone lengths: {', '.join(odd[:4])}", "keypoints")]
