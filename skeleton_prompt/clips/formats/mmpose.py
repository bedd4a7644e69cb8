"""MMPose and RTMPose: ``--save-predictions`` and ``MMPoseInferencer(pred_out_dir=...)``.

The demo scripts write ``meta_info`` (with ``keypoint_id2name``) and ``instance_info``: a list of frames with
``frame_id`` and ``instances``; the inferencer writes the list alone, or one list of instances for each image. An
instance has ``keypoints`` (J, 2) or (J, 3) and ``keypoint_scores``. SimCC scores may exceed 1.
The 3-D inferencer turns the camera's (x, y, z) into (-x, z, -y) with z up, which mirrors the space; it is turned back
here. Source: open-mmlab/mmpose, mmpose/apis/inferencers/pose3d_inferencer.py and demo/topdown_demo_with_mmdet.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from skeleton_prompt.clips.formats.errors import AmbiguousFile
from skeleton_prompt.clips.formats.format import json_format
from skeleton_prompt.clips.formats.instances import (
    as_fractions,
    coco_family_layout,
    has_flat,
    has_rows,
    joint_count,
    one_coords,
    read_instance,
)
from skeleton_prompt.clips.formats.json_values import frame_items, objects, stated_fps, stated_size, text
from skeleton_prompt.clips.formats.layout_choice import known_layout
from skeleton_prompt.clips.formats.options import ReadOptions
from skeleton_prompt.clips.formats.people import Frame
from skeleton_prompt.clips.formats.recording import Recording

_MARKS = ("keypoint_scores", "keypoints_visible")
_OLD_MARKS = ("bbox", "track_id", "area")  # of MMPose 0.x, whose joints are x, y, score


def is_instance(value: Any) -> bool:
    """Whether an object is one person of MMPose."""
    if has_rows(value) and any(mark in value for mark in (*_MARKS, *_OLD_MARKS)):
        return True
    return has_flat(value) and any(mark in value for mark in _MARKS)


def is_instances(value: Any) -> bool:
    """Whether a list holds the people of one image."""
    return isinstance(value, list) and bool(value) and all(map(is_instance, value[:8]))


def is_frame(value: Any) -> bool:
    """Whether a document is one frame: ``instances`` with or without ``frame_id``, or a list of instances."""
    if isinstance(value, Mapping) and isinstance(value.get("instances"), list):
        return all(map(is_instance, value["instances"][:8])) and ("frame_id" in value or bool(value["instances"]))
    return is_instances(value)


def _inner(value: Any) -> Any:
    return value["instance_info"] if isinstance(value, Mapping) and "instance_info" in value else value


def detect(value: Any) -> float:
    """How surely a JSON document is of MMPose."""
    inner = _inner(value)
    if isinstance(value, Mapping) and isinstance(inner, list) and "instance_info" in value:
        return 0.95 if frame_items(inner, is_frame) or is_instances(inner) else 0.0
    return 0.85 if is_frame(inner) or frame_items(inner, is_frame) else 0.0


def read(value: Any, options: ReadOptions, place: str) -> list[Recording]:
    """The recording of a video, or of one image."""
    inner = _inner(value)
    items = [(None, inner)] if is_instances(inner) else frame_items(inner, is_frame) or []
    notes: list[str] = []
    kinds: list[str] = []
    frames = []
    for number, frame in items:
        people = []
        for instance in objects(frame.get("instances") if isinstance(frame, Mapping) else frame):
            if is_instance(instance):
                coords, person = read_instance(instance, place)
                kinds.append(coords)
                people.append(person)
        frames.append(Frame(people, number))
    coords = one_coords(kinds, place)
    layout = _named(value)
    if coords == "xyzc":
        frames = _turned_back(frames)
        notes.append("3-D keypoints of MMPose: turned from its drawing axes (z up, mirrored) to y up")
        layout = layout or ("h36m17" if joint_count(frames) == 17 else None)
        if layout is None and options.layout is None:
            raise AmbiguousFile(place, "3-D keypoints without keypoint_id2name: give --layout NAME")
    elif layout is None:
        frames, layout = coco_family_layout(frames, options, notes, place, "MMPose")
    return [
        Recording(
            frames,
            coords,
            layout,
            fps=stated_fps(value),
            image_size=stated_size(value),
            y_axis="up" if coords == "xyzc" else None,
            units=as_fractions(frames) if coords == "xyc" else None,
            notes=tuple(notes),
        )
    ]


def _named(value: Any) -> str | tuple[str, ...] | None:
    """The layout that ``meta_info`` names by ``keypoint_id2name``."""
    meta = value.get("meta_info") if isinstance(value, Mapping) else None
    names = meta.get("keypoint_id2name") if isinstance(meta, Mapping) else None
    if isinstance(names, Mapping):
        ordered = sorted(((int(key), text(name)) for key, name in names.items() if str(key).isdecimal()))
        names = [name for _, name in ordered]
    if not isinstance(names, Sequence) or isinstance(names, str) or not names or not all(names):
        return None
    return known_layout([str(name) for name in names])


def _turned_back(frames: list[Frame]) -> list[Frame]:
    """(-x, z, -y) of the drawing to y up and z towards the viewer: (-a, c, -b)."""
    turned = []
    for frame in frames:
        people = []
        for person in frame.people:
            a, b, c, confidence = person.values.T
            people.append(replace(person, values=np.column_stack([-a, c, -b, confidence])))
        turned.append(replace(frame, people=people))
    return turned


FORMAT = json_format(
    "mmpose",
    "MMPose, RTMPose",
    "`.json` of the demos (`meta_info`, `instance_info`) or of the inferencer; a folder of one file for each image",
    "`keypoint_id2name`; without it 17 `coco17` (3-D `h36m17`), 26 `halpe26`, 133 `wholebody133`",
    "`--fps`",
    detect,
    read,
    is_frame=is_instances,
    options=("--fps", "--layout"),
)
