"""Is the person upright and the right way round? Warnings only: nothing is changed or refused.

The thresholds were set so that clips of eight public sets hardly ever raise a warning and the usual mistakes do.

Letters: F frames of all people, J canonical joints (17), D dimensions.
"""

from __future__ import annotations

import numpy as np

from skeleton_prompt.clips.canonical_skeleton import CANONICAL
from skeleton_prompt.clips.findings import Finding
from skeleton_prompt.clips.layouts import Layout
from skeleton_prompt.clips.pose_sample import JOINT, Array, Mask, PoseSample, median

UPSIDE_DOWN = 0.35
BACKWARD_FEET, BACKWARD_KNEES = 0.015, 0.03
BACKWARD_NOSE = 0.025
LYING = 0.75  # share of the frames
FLAT = 1.5  # times that the trunk is longer along the ground than upwards
BENT = 0.5  # share of the other axes that legs reach along the trunk's axis; knees bend in 3-D exercises
ACROSS = 0.05  # of the extent: how much farther left and right are apart upwards than sideways
TURNED = 0.1  # the same for a head at the right, which exchanged axes do not explain
_HEAD = [JOINT[name] for name in ("head_top", "nose", "thorax")]
_HIPS = [JOINT[name] for name in ("rhip", "lhip")]
_FEET = [JOINT[name] for name in ("rankle", "lankle", "rknee", "lknee")]
_LEVELS = np.zeros((len(CANONICAL), 3), np.float32)
for _column, _part in enumerate((_HEAD, _HIPS, _FEET)):
    _LEVELS[_part, _column] = 1


def orientation_warnings(layout: Layout, sample: PoseSample, raw: Array, sound: bool) -> list[Finding]:
    """What looks wrong about the axes.

    Args:
        layout: Its layout.
        sample: Some of its frames.
        raw: (F, joints of the layout, D) the same frames as sent, NaN where not seen.
        sound: Whether the bones are those of a person; otherwise left and right mean nothing.
    """
    if _upside_down(sample):
        message = "y axis looks flipped: the head is below the hips and these below the feet; see y_axis"
        return [Finding("upside_down", message, "y_axis")]
    if not sound:
        return []
    lying = _lying(sample)
    if lying is not None:
        return [lying]
    if sample.positions.shape[-1] == 3 and _mirrored(layout, sample, raw):
        message = (
            "the clip looks mirrored: feet, knees or nose point backwards; is left taken for right, or one axis "
            'negated? See handedness ("left" for Unity and Unreal) and mirrored'
        )
        return [Finding("mirrored", message, "handedness")]
    return []


def _lying(sample: PoseSample) -> Finding | None:
    """A person whose trunk and legs lie along one horizontal axis in nearly all frames."""
    positions, seen = sample.positions, sample.seen
    root, thorax = JOINT["root"], JOINT["thorax"]
    shown = seen[:, _FEET]
    rows = seen[:, root] & seen[:, thorax] & shown.any(1)
    if rows.sum() < 2:
        return None
    trunk = (positions[:, thorax] - positions[:, root])[rows]
    solid = positions.shape[-1] == 3
    level = np.abs(trunk)
    if np.count_nonzero(level[:, 1] < level.max(1)) < LYING * len(level):
        return None  # upright in too many frames
    counts = shown.sum(1)[rows]
    legs = (positions[:, _FEET] * shown[..., None]).sum(1)[rows] / counts[:, None] - positions[rows, root]
    fallen = np.abs(legs)
    for axis, name in ((2, "z"), (0, "x")) if solid else ((0, "x"),):
        others = [other for other in range(positions.shape[-1]) if other != axis]
        along = (level[:, axis] > FLAT * level[:, others].max(1)) & (
            fallen[:, axis] > (BENT if solid else 1) * fallen[:, others].max(1)
        )
        along &= np.sign(trunk[:, axis]) == -np.sign(legs[:, axis])
        if along.mean() < LYING:
            continue
        head = float(np.sign(np.median(trunk[:, axis])))
        if solid:
            sign = "" if head > 0 else "-"
            message = (
                f'the person lies along {name} throughout: does {name} point up? Then send "up_axis": "{sign}{name}"'
            )
            return Finding("lying", message, "up_axis")
        return _exchanged(sample, head)
    return None


def _exchanged(sample: PoseSample, head: float) -> Finding | None:
    """2-D, lying: left and right one above the other mean exchanged or turned axes; else the person lies."""
    left, right = JOINT["lshoulder"], JOINT["rshoulder"]
    rows = sample.seen[:, left] & sample.seen[:, right]
    if rows.sum() < 2:
        return None
    width = np.abs(sample.positions[rows, left] - sample.positions[rows, right]) / sample.extent
    upwards = median(width[:, 1])
    if upwards < TURNED or median(width[:, 1] - width[:, 0]) < (ACROSS if head < 0 else TURNED):
        return None
    said = "the person lies in nearly every frame, left and right one above the other: "
    if head < 0:
        message = said + 'are x and y exchanged? Where y comes first, as in MoveNet, send "coords": "yx" or "yxc"'
        return Finding("axes_exchanged", message, "coords")
    return Finding("picture_turned", said + "is the picture turned by 90 degrees?", "keypoints")


def _upside_down(sample: PoseSample) -> bool:
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
    return bool(order.mean() > 0.8) and median(feet[rows] - head[rows]) > UPSIDE_DOWN * sample.extent


def _mirrored(layout: Layout, sample: PoseSample, raw: Array) -> bool:
    """3-D only: by left and right the person faces one way, by feet (or else by knees) the other."""
    positions, seen = sample.positions, sample.seen
    across = positions[:, JOINT["rhip"]] - positions[:, JOINT["lhip"]]
    forward = np.stack((across[:, 2], -across[:, 0]), -1)  # up x right, in the (x, z) plane
    size = np.sqrt((forward * forward).sum(-1))
    rows = seen[:, JOINT["rhip"]] & seen[:, JOINT["lhip"]] & (size > 1e-6)
    forward /= np.maximum(size, 1e-6)[:, None]
    place = {role: index for index, role in enumerate(layout.roles) if role}
    nose = _nose_ahead(sample, raw, place, forward, rows)
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
    if nose is not None and knees and not feet:
        return bool(nose < -BACKWARD_NOSE * sample.extent and np.mean(knees) < BACKWARD_KNEES * sample.extent)
    if not knees or max(feet or knees) > 0:
        return False
    if feet:
        backward = np.mean(feet) < -BACKWARD_FEET * sample.extent
        return bool(backward and np.mean(knees) < BACKWARD_KNEES * sample.extent)
    return bool(np.mean(knees) < -BACKWARD_KNEES * sample.extent)


def _forward(steps: Array, forward: Array, rows: Mask) -> list[float]:
    """Median part of the (F, 3) steps that goes forward; empty with too few frames."""
    return [median((steps[rows][:, [0, 2]] * forward[rows]).sum(-1))] if rows.sum() >= 2 else []


def _nose_ahead(sample: PoseSample, raw: Array, place: dict[str, int], forward: Array, rows: Mask) -> float | None:
    """How far the nose is in front of the ears, or else of the line from thorax to head; None where not seen."""
    nose = JOINT["nose"]
    if "lear" in place and "rear" in place:
        behind = (raw[:, place["lear"]] + raw[:, place["rear"]]) / 2
    else:
        behind = (sample.positions[:, JOINT["thorax"]] + sample.positions[:, JOINT["head_top"]]) / 2
        rows = rows & sample.seen[:, JOINT["thorax"]] & sample.seen[:, JOINT["head_top"]]
    rows = rows & sample.seen[:, nose] & ~np.isnan(behind).any(-1)
    ahead = _forward(sample.positions[:, nose] - behind, forward, rows)
    return ahead[0] if ahead else None
