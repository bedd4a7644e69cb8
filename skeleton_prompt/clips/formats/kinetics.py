"""Kinetics-Skeleton: the JSON of ST-GCN (``kinetics-skeleton``), one file for each video.

``data`` has frames with ``frame_index`` and ``skeleton``: people with ``pose`` (x, y as fractions of the image; 18
joints of OpenPose) and ``score``; (0, 0) with score 0 is not seen. ``label`` and ``label_index`` name the action.
Source: yysijie/st-gcn, tools/kinetics_gendata.py and feeder/feeder_kinetics.py.
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
    joint_rows,
    objects,
    stated_fps,
    stated_size,
    text,
)
from skeleton_prompt.clips.formats.options import ReadOptions
from skeleton_prompt.clips.formats.people import Detection, Frame
from skeleton_prompt.clips.formats.recording import Recording

LAYOUTS = {18: "openpose18", 17: "coco17", 25: "openpose25"}


def detect(value: Any) -> float:
    """How surely a JSON document is of Kinetics-Skeleton."""
    data = value.get("data") if isinstance(value, Mapping) else None
    frames = list(objects(data[:SAMPLE])) if isinstance(data, list) else []
    if not frames or not all(isinstance(frame.get("skeleton"), list) for frame in frames):
        return 0.0
    people = [person for frame in frames for person in objects(frame["skeleton"])]
    return 0.95 if all("pose" in person for person in people) else 0.0


def read(value: Any, _options: ReadOptions, place: str) -> list[Recording]:
    """The recording of a video."""
    frames = [
        Frame(
            [_detection(person, place) for person in objects(frame["skeleton"]) if person.get("pose")],
            frame_number(frame),
        )
        for frame in objects(value["data"])
    ]
    joints = next((len(person.values) for frame in frames for person in frame.people), 0)
    largest = max(
        (
            float(np.nanmax(np.abs(person.values[:, :2])))
            for frame in frames
            for person in frame.people
            if len(person.values)
        ),
        default=0.0,
    )
    label = text(value.get("label"))
    if label is None:
        label = text(value.get("label_index"))
    return [
        Recording(
            frames,
            "xyc",
            LAYOUTS.get(joints),
            fps=stated_fps(value),
            image_size=stated_size(value),
            units="fraction" if largest <= 1.5 else None,
            label=label if label not in ("unknown", "-1") else None,
        )
    ]


def _detection(person: Mapping[str, Any], place: str) -> Detection:
    places = joint_rows(person["pose"], 2, place)
    scores = person.get("score")
    if scores is None:
        scores = [1.0] * len(places)
    confidence = joint_rows(scores, 1, place)
    if len(confidence) != len(places):
        raise FormatError(place, f"{len(confidence)} scores for {len(places)} joints")
    return Detection(np.hstack([places, confidence]), score=float(np.nansum(confidence)))


FORMAT = json_format(
    "kinetics",
    "Kinetics-Skeleton (ST-GCN)",
    "`.json`, one file for each video; `label` is kept",
    "18 joints `openpose18`",
    "`--fps` (Kinetics: 30)",
    detect,
    read,
    options=("--fps", "--image-size"),
)
