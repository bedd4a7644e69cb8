"""Tables with one row for each joint: columns frame, joint, x, y, perhaps z, a confidence and a person.

As exports of databases and notebooks have them, and MediaPipe's holistic tables (``frame``, ``type``,
``landmark_index``, ``x``, ``y``, ``z``), of which the rows of ``type`` pose are read.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skeleton_prompt.clips.formats.columns import sensor_axes
from skeleton_prompt.clips.formats.errors import AmbiguousFile, FormatError
from skeleton_prompt.clips.formats.format import Format
from skeleton_prompt.clips.formats.instances import as_fractions
from skeleton_prompt.clips.formats.layout_choice import known_layout
from skeleton_prompt.clips.formats.options import ReadOptions
from skeleton_prompt.clips.formats.people import Detection, Frame
from skeleton_prompt.clips.formats.recording import Recording
from skeleton_prompt.clips.formats.source import Source
from skeleton_prompt.clips.formats.tables import (
    FRAME_COLUMNS,
    SUFFIXES,
    TRACK_COLUMNS,
    cell,
    head_rows,
    mediapipe_depth,
    table_of,
)

_JOINTS = (
    "joint", "joint_name", "jointname", "landmark", "landmark_name", "landmark_index", "landmark_id", "keypoint",
    "keypoint_name", "keypoint_id", "bodypart", "body_part", "marker", "node", "part", "name", "joint_id",
    "joint_index",
)  # fmt: skip
_SCORES = ("score", "confidence", "visibility", "likelihood", "conf", "c", "v")
_KINDS = ("type", "landmark_type")
MAX_JOINTS = 1024


def _plan(header: Sequence[str]) -> Mapping[str, int] | None:
    """Columns by meaning, or None if the header is not that of a long table."""
    lower = [name.lower() for name in header]
    plan = {axis: lower.index(axis) for axis in "xyz" if axis in lower}
    wanted = (
        ("frame", FRAME_COLUMNS),
        ("joint", _JOINTS),
        ("score", _SCORES),
        ("track", TRACK_COLUMNS),
        ("kind", _KINDS),
    )
    for meaning, names in wanted:
        found = next((lower.index(name) for name in names if name in lower), None)
        if found is not None:
            plan[meaning] = found
    return plan if {"x", "y", "frame", "joint"} <= plan.keys() else None


def detect(source: Source) -> float:
    """How surely a file is a table with a row for each joint."""
    rows = head_rows(source) if source.suffix in SUFFIXES else []
    return 0.75 if rows and _plan(rows[0]) else 0.0


def read(source: Source, options: ReadOptions) -> list[Recording]:
    """The recording of a long table."""
    header, *rows = table_of(source)
    plan = _plan(header)
    if plan is None:
        raise FormatError(source.path, "no columns frame, joint, x and y")
    if "kind" in plan and any(row[plan["kind"]].lower() == "pose" for row in rows if len(row) == len(header)):
        rows = [row for row in rows if len(row) == len(header) and row[plan["kind"]].lower() == "pose"]
    joints = _joint_order(source, rows, plan)
    deep = "z" in plan
    people: dict[int, dict[str, Any]] = defaultdict(dict)
    for number, row in enumerate(rows, 2):
        try:
            frame = int(cell(row[plan["frame"]]))
            place = [cell(row[plan[axis]]) for axis in ("xyz" if deep else "xy")]
            score = cell(row[plan["score"]]) if "score" in plan else 1.0
        except (ValueError, IndexError) as error:
            raise FormatError(source.path, f"row {number}: {error}") from None
        track = row[plan["track"]] if "track" in plan else ""
        values = people[frame].setdefault(track, np.full((len(joints), len(place) + 1), np.nan))
        values[joints[row[plan["joint"]]]] = [*place, score]
    frames = [
        Frame([Detection(values, track or None) for track, values in own.items()], number)
        for number, own in people.items()
    ]
    return [_recording(source, frames, list(joints), options, deep=deep)]


def _joint_order(source: Source, rows: Sequence[Sequence[str]], plan: Mapping[str, int]) -> dict[str, int]:
    """Place of each joint: by number where all are numbers, else in the order of the file."""
    names = list(dict.fromkeys(row[plan["joint"]] for row in rows if len(row) > plan["joint"]))
    if len(names) > MAX_JOINTS:
        raise FormatError(source.path, f"{len(names)} joints; at most {MAX_JOINTS} are read")
    if all(re.fullmatch(r"\d{1,4}", name) for name in names):
        names.sort(key=int)
    return {name: index for index, name in enumerate(names)}


def _recording(source: Source, frames: list[Frame], names: list[str], options: ReadOptions, *, deep: bool) -> Recording:
    notes: list[str] = []
    layout: str | tuple[str, ...] | None = known_layout(names)
    numbered = all(name.isdecimal() for name in names)
    if numbered and len(names) == 33:
        layout = "mediapipe33"
        notes.append("33 numbered joints are taken as mediapipe33; --layout says otherwise")
    elif numbered and options.layout is None:
        raise AmbiguousFile(
            source.path, f"{len(names)} numbered joints without names: give --layout NAME or joint,names"
        )
    y_axis, note = sensor_axes(names) if deep else (None, None)
    if deep and len(names) == 33 and y_axis is None:
        y_axis, deep, frames, note = mediapipe_depth(frames)
    if note:
        notes.append(note)
    return Recording(
        frames,
        "xyzc" if deep else "xyc",
        layout,
        y_axis=y_axis,
        unknown_axes=deep and y_axis is None,
        units=None if deep else as_fractions(frames),
        notes=tuple(notes),
    )


FORMAT = Format(
    "csv-long",
    "CSV with a row for each joint (MediaPipe holistic and others)",
    SUFFIXES,
    "columns `frame`, `joint` or `landmark_index`, `x`, `y`, perhaps `z`, `visibility` and `person`",
    "names in the column; 33 numbered joints `mediapipe33`",
    "`--fps`",
    detect,
    read,
    options=("--fps", "--layout", "--up-axis"),
)
