"""What keeps nested lists of keypoints from being an array: every problem with its place.

The slow path of :mod:`skeleton_prompt.clips.keypoints`, taken only where the lists are irregular.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from skeleton_prompt.clips import confidence
from skeleton_prompt.clips.validation import MAX_VALUE, preview

CHANNELS = {"xy": 2, "xyc": 3, "xyz": 3, "xyzc": 4, "yx": 2, "yxc": 3}
DEFAULT_COORDS = {2: "xy", 3: "xyc", 4: "xyzc"}
NOT_SEEN = ("", "nan", "none", "null", "na", "n/a")  # texts that tools write


def walk(frames: list[Any], depth: int, joints: int | None, coords: str | None) -> Iterator[tuple[str, str, str]]:
    """The slow path: (loc, rule, message) of everything that keeps nested lists from being an array."""
    people = max((len(f) for f in frames if isinstance(f, list)), default=1) if depth == 4 else 1
    groups: list[tuple[str, Any]] = []
    for t, frame in enumerate(frames):
        loc = f"keypoints[{t}]"
        if depth == 3:
            groups.append((loc, frame))
        elif frame is not None and not isinstance(frame, list):
            yield loc, "not_a_list", f"{preview(frame)} is not a list of people"
        elif frame is not None:
            if len(frame) != people:
                yield loc, "ragged_frame", f"{len(frame)} people, other frames have {people}; null stands for nobody"
            groups += ((f"{loc}[{p}]", person) for p, person in enumerate(frame))
    counts = Counter(len(group) for _, group in groups if isinstance(group, list))
    expected = joints if joints in counts else max(counts, key=lambda count: counts[count], default=0)
    if joints is not None and counts and joints not in counts:
        yield "keypoints[0]", "wrong_joint_count", f"{expected} joints, but the layout has {joints}"
    lengths = Counter(len(joint) for _, group in groups if isinstance(group, list) for joint in group
                      if isinstance(joint, list))  # fmt: skip
    channels = max(lengths, key=lambda length: lengths[length], default=0)
    if coords and CHANNELS[coords] in lengths:
        channels = CHANNELS[coords]
    regular: list[tuple[str, list[Any]]] = []
    for loc, group in groups:
        if group is None:
            continue
        if not isinstance(group, list):
            yield loc, "not_a_list", f"{preview(group)} is not a list of joints"
            continue
        if len(group) != expected:
            yield loc, "ragged_frame", f"{len(group)} joints instead of {expected}; a joint not seen is null"
        for j, joint in enumerate(group):
            wrong = False
            for problem in _walk_joint(joint, f"{loc}[{j}]", channels):
                wrong = True
                yield problem
            if not wrong and joint is not None:
                regular.append((f"{loc}[{j}]", joint))
    yield from _walk_confidence(regular, coords or DEFAULT_COORDS.get(channels, "xy"))


def _walk_confidence(joints: list[tuple[str, list[Any]]], coords: str) -> Iterator[tuple[str, str, str]]:
    """Confidences outside 0 to 1 of joints that are sound by themselves: an irregular frame does not hide them."""
    if not coords.endswith("c") or not joints:
        return
    values = np.array([joint for _, joint in joints], np.float64).astype(np.float32)[:, None, None]
    confidence.to_unit_scale(values, coords, None, "")
    trust = values[:, 0, 0, -1]
    for row in np.flatnonzero((trust < 0) | (trust > 1)):
        loc = f"{joints[row][0]}[{values.shape[-1] - 1}]"
        message = f"confidence {float(trust[row]):g} is outside 0 to 1{confidence.hint(coords, None, values)}"
        yield loc, "confidence_out_of_range", message


def _walk_joint(joint: object, loc: str, channels: int) -> Iterator[tuple[str, str, str]]:
    """What is wrong with the values of one joint."""
    if joint is None:
        return
    if not isinstance(joint, list):
        yield loc, "not_a_list", f"{preview(joint)} is not a list of {channels or 'two to four'} numbers"
        return
    if len(joint) != channels or not joint:
        yield loc, "ragged_joint", f"{len(joint)} values instead of {channels}"
    for c, value in enumerate(joint):
        if type(value) not in (int, float):
            unseen = value is None or (isinstance(value, str) and value.strip().lower() in NOT_SEEN)
            hint = "; a joint not seen is null as a whole" if unseen else ""
            yield f"{loc}[{c}]", "not_a_number", f"{preview(value)} is not a number{hint}"
        elif isinstance(value, float) and not math.isfinite(value):
            yield f"{loc}[{c}]", "not_finite", f"{value} is not a finite number; a joint not seen is null"
        elif abs(value) > MAX_VALUE:
            yield f"{loc}[{c}]", "out_of_range", f"a number beyond ±{MAX_VALUE:g}"
