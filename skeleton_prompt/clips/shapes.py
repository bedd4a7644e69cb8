"""Keypoints whose nesting is not the documented one: other orders of the axes, flat frames, joints as objects.

Only what can be read in one way is read; everything else is left to the messages of the reader.

Letters: T frames, P people, J joints, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import Any

import numpy as np

from skeleton_prompt.clips.findings import Finding
from skeleton_prompt.clips.validation import ClipLimits

CHANNEL_COUNTS = (2, 3, 4)
FEW_PEOPLE = 4  # a first axis of at most so many beside more than max_people in the second is one of people
SCORES = ("score", "confidence", "visibility", "likelihood", "conf", "probability", "presence", "c")
NAMES = ("name", "part", "label", "bodyPart")
_ORDERS_4 = ("PTJC", "CTJP", "PCTJ", "TJCP", "TPCJ")

Order = tuple[str, tuple[int, ...]]


def documented(shape: Sequence[int], joints: int, channels: Sequence[int], limits: ClipLimits) -> bool:
    """Whether the shape is (T, J, C) or (T, P, J, C) with these joints and channels."""
    if len(shape) == 3:
        return shape[1] == joints and shape[2] in channels
    return len(shape) == 4 and shape[2] == joints and shape[3] in channels and shape[1] <= limits.max_people


def find_orders(shape: Sequence[int], joints: int, channels: Sequence[int], limits: ClipLimits) -> list[str]:
    """The ways to read a shape that is not the documented one, each as a word of axis letters.

    ``T`` frames, ``P`` people, ``J`` joints, ``C`` channels, ``F`` joints times channels, ``1`` an axis to drop. Empty
    where the shape is the documented one.
    """
    if len(shape) == 5 and 1 in (shape[0], shape[4]):
        first = shape[0] == 1
        rest = shape[1:] if first else shape[:4]
        inner = find_orders(rest, joints, channels, limits)
        if not inner and documented(rest, joints, channels, limits):
            inner = ["TPJC"]
        return [("1" + word if first else word + "1") for word in inner]
    if documented(shape, joints, channels, limits) and (len(shape) == 3 or shape[0] >= limits.min_frames):
        return []
    if len(shape) in (2, 3) and any(shape[-1] == joints * count for count in channels):
        return ["TPF" if len(shape) == 3 else "TF"]
    words: Sequence[str] = ()
    if len(shape) == 3:
        words = ["".join(word) for word in permutations("TJC")]
    elif len(shape) == 4:
        words = _ORDERS_4
    return [word for word in words if _fits(word, shape, joints, channels, limits)]


def choose_order(values: np.ndarray[Any, Any], orders: Sequence[str], joints: int) -> str | None:
    """The only way, or of several the only one whose third channel is a confidence beside coordinates that are not."""
    if len(orders) < 2:
        return orders[0] if orders else None
    fitting = []
    for word in orders:
        read, _ = to_documented(values, word, joints)
        if read.shape[-1] == 3:
            trust, plane = read[..., 2], np.abs(read[..., :2])
            if np.fmin.reduce(trust, axis=None) >= 0 and np.fmax.reduce(trust, axis=None) <= 1 and (plane > 2).any():
                fitting.append(word)
    return fitting[0] if len(fitting) == 1 else None


def _fits(word: str, shape: Sequence[int], joints: int, channels: Sequence[int], limits: ClipLimits) -> bool:
    sizes = dict(zip(word, shape, strict=True))
    people, frames = sizes.get("P", 1), sizes["T"]
    if sizes["J"] != joints or sizes["C"] not in channels or frames < limits.min_frames:
        return False
    if word == "PTJC":
        return people == 1 or (people <= FEW_PEOPLE and frames > limits.max_people)
    return people <= limits.max_people


def to_documented(values: np.ndarray[Any, Any], word: str, joints: int) -> tuple[np.ndarray[Any, Any], Finding]:
    """Values with the axes ``word`` as (T, J, C) or (T, P, J, C), and what to say of it."""
    was = values.shape
    for axis in reversed(range(len(word))):
        if word[axis] == "1":
            values = values.reshape(values.shape[:axis] + values.shape[axis + 1 :])
    word = word.replace("1", "")
    if word.endswith("F"):
        values = values.reshape(*values.shape[:-1], joints, values.shape[-1] // joints)
    else:
        values = values.transpose([word.index(letter) for letter in "TPJC" if letter in word])
    if values.ndim == 4 and values.shape[1] == 1:
        values = values[:, 0]
    wanted = "(frames, people, joints, values)" if values.ndim == 4 else "(frames, joints, values)"
    message = f"keypoints of shape {was} were read as {values.shape} {wanted}"
    return values, Finding("axes_rearranged", message, "keypoints")


def describe(node: object) -> str:
    """The shape of nested lists by their first entries, such as ``(24, 51)``, and whether these are objects."""
    sizes: list[str] = []
    while isinstance(node, (list, tuple)) and len(sizes) < 6:
        sizes.append(str(len(node)))
        node = next((child for child in node if child is not None), None)
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})" + (" of objects" if isinstance(node, dict) else "")


def mend_lists(
    frames: list[Any], joints: Sequence[str] | None, coords: str | None, found: list[Finding]
) -> tuple[list[Any], str | None] | None:
    """Nested lists with unusual frames as the documented ones.

    An empty list for a frame or a person is nobody; frames with fewer people than others are filled with null; joints
    as objects, alone or in the ``keypoints`` of an object for each person, become lists.

    Args:
        frames: As sent.
        joints: Names of the layout's joints, None if the layout is wrong.
        coords: As sent.
        found: Takes what was done.

    Returns:
        New lists and the coords of joints that were objects; None where nothing of this was found.
    """
    changed, meaning = False, coords
    if any(isinstance(frame, list) and not frame for frame in frames) and any(frames):
        count = sum(isinstance(frame, list) and not frame for frame in frames)
        frames = [None if isinstance(frame, list) and not frame else frame for frame in frames]
        found.append(Finding("empty_frames", f"{count} empty frames were taken as frames without a person; send null",
                             "keypoints"))  # fmt: skip
        changed = True
    emptied = _without_null_joints(frames)
    if emptied is not None:
        frames = emptied
        message = "joints whose coordinates are null were taken as not seen; send null for the joint"
        found.append(Finding("nulls_unseen", message, "keypoints"))
        changed = True
    objects = _from_objects(frames, joints, coords)
    if objects is not None:
        frames, meaning = objects
        message = f"frames or joints sent as objects were read as lists{f' ({meaning})' if meaning else ''}"
        found.append(Finding("joints_were_objects", message, "keypoints"))
        changed = True
    padded = _pad_people(frames)
    if padded is not None:
        frames = padded
        found.append(Finding("people_padded", "frames with fewer people were filled up with null", "track_ids"))
        changed = True
    return (frames, meaning) if changed else None


def leaf_depth(node: Sequence[Any], level: int = 1, deepest: int = 4) -> int:
    """How deep the first value is that is neither a list nor null; 0 if there is none."""
    for child in node:
        if isinstance(child, list):
            if level > deepest:
                return level + 1
            depth = leaf_depth(child, level + 1, deepest)
            if depth:
                return depth
        elif child is not None:
            return level
    return 0


def _pad_people(frames: list[Any]) -> list[Any] | None:
    """Frames of [person][joint][value] filled with null to one number of people; None if they are not ragged so."""
    if leaf_depth(frames) != 4 or not all(frame is None or isinstance(frame, list) for frame in frames):
        return None
    most = max(len(frame) for frame in frames if frame is not None)
    if all(frame is None or (len(frame) == most and [] not in frame) for frame in frames):
        return None
    return [
        None if frame is None else [person or None for person in frame] + [None] * (most - len(frame))
        for frame in frames
    ]


def _without_null_joints(frames: list[Any]) -> list[Any] | None:
    """Joints such as ``[null, null, 0]`` as null; None if there is none."""
    count = 0

    def clean(node: Any, depth: int) -> Any:
        nonlocal count
        if not isinstance(node, list) or depth > 4:
            return node
        if len(node) in CHANNEL_COUNTS and node[0] is None and node[1] is None and _is_number(node[-1]):
            count += 1
            return None
        return [clean(child, depth + 1) for child in node]

    cleaned = [clean(frame, 1) for frame in frames]
    return cleaned if count else None


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _from_objects(
    frames: list[Any], joints: Sequence[str] | None, coords: str | None
) -> tuple[list[Any], str | None] | None:
    """Joints that are objects as lists, and their coords; None where they are not, or not all with x and y."""
    if not any(isinstance(node, dict) for node in _first_nodes(frames)):
        return None
    places = None if joints is None else {_plain_name(name): index for index, name in enumerate(joints)}
    sample = next((node for node in _first_nodes(frames) if isinstance(node, dict) and "keypoints" not in node), {})
    meaning = coords or (("xyzc" if "z" in sample else "xyc") if sample else None)
    try:
        return [None if frame is None else _frame(frame, places, meaning) for frame in frames], meaning
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _first_nodes(node: object) -> Iterator[object]:
    """The first entry of each level, into the ``keypoints`` of objects."""
    for _ in range(6):
        if isinstance(node, dict):
            yield node
            node = node.get("keypoints")
        elif isinstance(node, list):
            node = next((child for child in node if child is not None and child != []), None)
        else:
            return


def _frame(frame: Any, places: dict[str, int] | None, coords: str | None) -> list[Any]:
    if isinstance(frame, dict):
        return _person(frame["keypoints"], places, coords)
    first = next((child for child in frame if child is not None), None)
    if isinstance(first, list) or (isinstance(first, dict) and "keypoints" in first):
        people = [child["keypoints"] if isinstance(child, dict) else child for child in frame]
        return [None if person is None else _person(person, places, coords) for person in people]
    return _person(frame, places, coords)


def _person(joints: list[Any], places: dict[str, int] | None, coords: str | None) -> list[Any]:
    """Joints as lists: by their names where all of these are the layout's, else in the order as sent."""
    if coords is None or not any(isinstance(joint, dict) for joint in joints):
        return list(joints)
    read = [None if joint is None else _joint(joint, coords) for joint in joints]
    names = [next((joint[key] for key in NAMES if key in joint), None) for joint in joints if joint is not None]
    if not places or len(names) < len(joints) or not all(isinstance(name, str) for name in names):
        return read
    slots = [places.get(_plain_name(str(name))) for name in names]
    if None in slots or len(set(slots)) < len(slots):
        return read
    ordered: list[Any] = [None] * len(places)
    for slot, joint in zip(slots, read, strict=True):
        ordered[slot or 0] = joint
    return ordered


def _plain_name(name: str) -> str:
    return "".join(char for char in name if char.isalnum()).casefold()


def _joint(joint: dict[str, Any], coords: str) -> list[Any]:
    at = joint.get("position", joint)
    score = next((joint[key] for key in SCORES if key in joint), 1.0)
    values = [at["x"], at["y"], *([at["z"]] if "z" in coords else []), *([score] if "c" in coords else [])]
    return values if "xy" in coords else [values[1], values[0], *values[2:]]
