"""Detections as JSON objects with ``keypoints``: what MMPose, COCO results, OpenPifPaf and Ultralytics share.

``keypoints`` is a flat list (x, y, confidence for each joint), a list of joints with two or three numbers beside
``keypoint_scores``, or an object of lists ``x``, ``y`` and ``visible``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from skeleton_prompt.clips.formats.errors import AmbiguousFile, FormatError
from skeleton_prompt.clips.formats.json_values import Array, is_number, joint_rows, numbers_only, row_width
from skeleton_prompt.clips.formats.options import ReadOptions
from skeleton_prompt.clips.formats.people import Detection, Frame

_SCORES = (
    "keypoint_scores", "keypoints_scores", "keypoint_score", "keypoints_score", "kp_score", "kp_scores",
    "keypoint_confidence",
)  # fmt: skip
_TRACKS = ("track_id", "tracking_id", "instance_id", "person_id", "id_", "idx", "track", "tracker_id")
_WHOLE = ("score", "bbox_score", "confidence", "conf")
_VISIBLE = ("visible", "visibility", "confidence", "conf", "score", "scores")
HALPE_136, HALPE_26 = 136, 26  # the first 26 joints of Halpe-136 are those of Halpe-26


def has_columns(value: Any) -> bool:
    """Whether ``keypoints`` is an object of the lists ``x`` and ``y``."""
    keypoints = value.get("keypoints") if isinstance(value, Mapping) else None
    return isinstance(keypoints, Mapping) and all(isinstance(keypoints.get(axis), list) for axis in "xy")


def has_flat(value: Any) -> bool:
    """Whether ``keypoints`` is a flat list of numbers."""
    return isinstance(value, Mapping) and numbers_only(value.get("keypoints"))


def has_rows(value: Any) -> bool:
    """Whether ``keypoints`` is a list of joints with two to four numbers each."""
    keypoints = value.get("keypoints") if isinstance(value, Mapping) else None
    if not isinstance(keypoints, list):
        return False
    rows = [row for row in keypoints[:8] if row is not None]
    return bool(rows) and all(isinstance(row, list) and 2 <= len(row) <= 4 and all(map(is_number, row)) for row in rows)


def read_instance(value: Mapping[str, Any], place: str, *, flags: bool = False) -> tuple[str, Detection]:
    """Coords and detection of one object.

    Args:
        value: the object.
        place: the file, for messages.
        flags: the third number of flat keypoints is COCO's visibility flag: 0 not labelled, 1 occluded, 2 visible.
    """
    keypoints = value["keypoints"]
    scores = next((value[key] for key in _SCORES if isinstance(value.get(key), list)), None)
    if not isinstance(keypoints, (Mapping, list)):
        raise FormatError(place, f"keypoints are {type(keypoints).__name__}, not a list")
    if isinstance(keypoints, Mapping):
        scores = next((keypoints[key] for key in _VISIBLE if isinstance(keypoints.get(key), list)), scores)
        x, y = (joint_rows(keypoints[axis], 1, place) for axis in "xy")
        if len(x) != len(y):
            raise FormatError(place, f"{len(x)} x and {len(y)} y of the joints of one person")
        rows = np.hstack([x, y])
    elif row_width(keypoints) is not None:
        rows = joint_rows(keypoints, row_width(keypoints) or 2, place)
    else:
        width = 3 if len(keypoints) % 3 == 0 else 2
        rows = joint_rows(keypoints, width, place)
        if scores is not None and len(scores) * 2 == len(keypoints):
            rows = joint_rows(keypoints, 2, place)
    rows, coords = _with_scores(rows, scores, place)
    if flags and coords == "xyc":
        rows[:, 2] = np.minimum(rows[:, 2], 1.0)
    return coords, Detection(rows, track_of(value), _score(value, rows, coords))


def _with_scores(rows: Array, scores: Any, place: str) -> tuple[Array, str]:
    """The rows with their scores as the last number, and the coords."""
    width = rows.shape[1]
    if scores is None:
        if width == 2:
            seen = np.isfinite(rows).all(1) & (rows != 0).any(1)
            return np.hstack([rows, seen[:, None].astype(float)]), "xyc"
        return (rows, "xyc") if width == 3 else (rows, "xyzc")
    column = joint_rows(scores, 1, place)
    if len(column) != len(rows):
        raise FormatError(place, f"{len(column)} scores for {len(rows)} joints")
    if width == 4:
        return rows, "xyzc"
    return np.hstack([rows, column]), "xyc" if width == 2 else "xyzc"


def track_of(value: Mapping[str, Any]) -> int | str | None:
    """The identity of a person across frames, None where it is missing or -1."""
    for key in _TRACKS:
        track = value.get(key)
        if track is None and isinstance(value.get("attributes"), Mapping):
            track = value["attributes"].get(key)
        while isinstance(track, list) and len(track) == 1:
            track = track[0]
        if isinstance(track, bool) or track is None or isinstance(track, list):
            continue
        if isinstance(track, (int, float)):
            return int(track) if math.isfinite(track) and track >= 0 else None
        if isinstance(track, str) and track:
            return track
    return None


def _score(value: Mapping[str, Any], rows: Array, coords: str) -> float:
    for key in _WHOLE:
        found = value.get(key)
        if isinstance(found, (int, float)) and not isinstance(found, bool):
            return float(found)
    return float(np.nansum(rows[:, -1])) if coords.endswith("c") else 0.0


def one_coords(found: Sequence[str], place: str) -> str:
    """The coords that all detections have.

    Raises:
        FormatError: 2-D and 3-D detections in one recording.
    """
    kinds = sorted(set(found))
    if len(kinds) > 1:
        raise FormatError(place, f"detections with coords {' and '.join(kinds)} in one recording")
    return kinds[0] if kinds else "xyc"


def joint_count(frames: Sequence[Frame]) -> int:
    """J of the first detection, 0 if there is none."""
    return next((len(person.values) for frame in frames for person in frame.people), 0)


def cut_joints(frames: Sequence[Frame], count: int) -> list[Frame]:
    """The frames with the first joints only."""
    return [
        replace(frame, people=[replace(person, values=person.values[:count]) for person in frame.people])
        for frame in frames
    ]


def coco_family_layout(
    frames: Sequence[Frame], options: ReadOptions, notes: list[str], place: str, tool: str
) -> tuple[list[Frame], str | None]:
    """Layout by the number of joints among those of COCO, Halpe and COCO-WholeBody.

    Raises:
        AmbiguousFile: another number of joints and no ``--layout``.
    """
    joints = joint_count(frames)
    known = {17: "coco17", 26: "halpe26", 133: "wholebody133"}
    if options.layout is not None or not joints:
        return list(frames), None
    if joints == HALPE_136:
        notes.append("Halpe-136: the 26 joints of the body are kept, face and hands are left out")
        return cut_joints(frames, HALPE_26), "halpe26"
    if joints not in known:
        raise AmbiguousFile(
            place,
            f"{joints} joints for each person; {tool} files with 17 (COCO), 26 or 136 (Halpe) and 133 (COCO-WholeBody)"
            " are known: give --layout NAME or --layout joint,names,...",
        )
    notes.append(f"{joints} joints are taken as {known[joints]}; --layout says otherwise")
    return list(frames), known[joints]


def as_fractions(frames: Sequence[Frame]) -> str | None:
    """``fraction`` if every coordinate that was seen lies between 0 and 1, else None."""
    low, high, found = 0.0, 0.0, False
    for frame in frames:
        for person in frame.people:
            places = person.values[:, :2]
            places = places[np.isfinite(places).all(1) & (places != 0).any(1)]
            if len(places):
                found = True
                low, high = min(low, float(places.min())), max(high, float(places.max()))
    return "fraction" if found and low >= -0.5 and high <= 1.5 else None
