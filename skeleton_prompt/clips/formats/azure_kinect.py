"""Azure Kinect body tracking: the JSON of Microsoft's ``offline_processor`` sample.

``joint_names``, and ``frames`` with ``timestamp_usec`` and ``bodies``: ``body_id``, ``joint_positions`` (32 joints;
millimetres in the depth camera: x right, y down, z forward) and, in some versions, ``confidence_level`` (0 none, 1 low,
2 medium, 3 high). Source: microsoft/Azure-Kinect-Samples, body-tracking-samples/offline_processor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skeleton_prompt.clips.formats.errors import FormatError
from skeleton_prompt.clips.formats.format import json_format
from skeleton_prompt.clips.formats.json_values import (
    SAMPLE,
    frame_number,
    frame_seconds,
    joint_rows,
    objects,
    stated_fps,
    whole,
)
from skeleton_prompt.clips.formats.layout_choice import known_layout
from skeleton_prompt.clips.formats.options import ReadOptions
from skeleton_prompt.clips.formats.people import Detection, Frame
from skeleton_prompt.clips.formats.recording import Recording

JOINTS = 32
_LEVELS = ("confidence_level", "confidence_levels", "joint_confidences", "joint_confidence")
_LEVEL_VALUES = np.array([0.0, 0.5, 1.0, 1.0])


def detect(value: Any) -> float:
    """How surely a JSON document is of Azure Kinect."""
    frames = value.get("frames") if isinstance(value, Mapping) else None
    sample = list(objects(frames[:SAMPLE])) if isinstance(frames, list) else []
    bodies = [body for frame in sample for body in objects(frame.get("bodies"))]
    if bodies:
        return 0.95 if all("joint_positions" in body for body in bodies) else 0.0
    return 0.7 if sample and all("bodies" in frame and "num_bodies" in frame for frame in sample) else 0.0


def read(value: Any, _options: ReadOptions, place: str) -> list[Recording]:
    """The recording of a file."""
    frames = []
    for frame in objects(value["frames"]):
        people = [_body(body, place) for body in objects(frame.get("bodies")) if body.get("joint_positions")]
        frames.append(Frame(people, frame_number(frame), frame_seconds(frame)))
    joints = next((len(person.values) for frame in frames for person in frame.people), 0)
    names = value.get("joint_names")
    layout: str | tuple[str, ...] | None = "azure_kinect32" if joints == JOINTS else None
    notes = ["Azure Kinect depth camera space: millimetres, y down"]
    if isinstance(names, list) and len(names) == joints and joints != JOINTS:
        layout = known_layout([str(name) for name in names])
    elif isinstance(names, list) and names and len(names) != joints and joints:
        notes.append(f"joint_names has {len(names)} names for {joints} joints and is not used")
    return [Recording(frames, "xyzc", layout, fps=stated_fps(value), y_axis="down", notes=tuple(notes))]


def _body(body: Mapping[str, Any], place: str) -> Detection:
    rows = joint_rows(body["joint_positions"], 3, place)
    levels = next((body[key] for key in _LEVELS if isinstance(body.get(key), list)), None)
    confidence = np.ones((len(rows), 1))
    if levels is not None:
        if len(levels) != len(rows):
            raise FormatError(place, f"{len(levels)} confidence levels for {len(rows)} joints")
        confidence = joint_rows(levels, 1, place)
        known = np.isfinite(confidence)
        if (confidence[known] == np.round(confidence[known])).all() and confidence[known].max(initial=0) > 1:
            confidence = np.where(known, _LEVEL_VALUES[np.clip(np.nan_to_num(confidence), 0, 3).astype(int)], 0.0)
    track = whole(body.get("body_id"))
    return Detection(np.hstack([rows, confidence]), track)


FORMAT = json_format(
    "azure-kinect",
    "Azure Kinect (offline_processor)",
    "`.json` with `frames`, `bodies` and `joint_positions`",
    "32 joints `azure_kinect32`",
    "`timestamp_usec`",
    detect,
    read,
)
