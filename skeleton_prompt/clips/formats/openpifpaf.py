"""OpenPifPaf: ``--json-output``, one ``*.predictions.json`` for each image, or JSON lines for a video.

An image file is a list of objects with flat ``keypoints`` (x, y, confidence), ``bbox`` and ``score``; a line of a video
is ``{"frame": n, "predictions": [...]}``; with tracking, objects have ``id_``. Source: openpifpaf,
src/openpifpaf/predict.py, video.py and annotation.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skeleton_prompt.clips.formats.format import json_format
from skeleton_prompt.clips.formats.instances import as_fractions, coco_family_layout, has_flat, read_instance
from skeleton_prompt.clips.formats.json_values import frame_items, objects, stated_fps
from skeleton_prompt.clips.formats.options import ReadOptions
from skeleton_prompt.clips.formats.people import Frame
from skeleton_prompt.clips.formats.recording import Recording


def _is_person(value: Any) -> bool:
    return has_flat(value) and "image_id" not in value and ("bbox" in value or "score" in value)


def is_frame(value: Any) -> bool:
    """Whether a document is one image or one line of a video."""
    if isinstance(value, Mapping):
        people = value.get("predictions")
        return isinstance(people, list) and all(map(_is_person, people[:8])) and ("frame" in value or bool(people))
    return isinstance(value, list) and bool(value) and all(map(_is_person, value[:8]))


def detect(value: Any) -> float:
    """How surely a JSON document is of OpenPifPaf."""
    return 0.7 if frame_items(value, is_frame) else 0.0


def read(value: Any, options: ReadOptions, place: str) -> list[Recording]:
    """The recording of a video, or of one image."""
    frames = []
    for number, frame in frame_items(value, is_frame) or []:
        rows = frame.get("predictions") if isinstance(frame, Mapping) else frame
        frames.append(Frame([read_instance(row, place)[1] for row in objects(rows) if has_flat(row)], number))
    notes: list[str] = []
    frames, layout = coco_family_layout(frames, options, notes, place, "OpenPifPaf")
    return [Recording(frames, "xyc", layout, fps=stated_fps(value), units=as_fractions(frames), notes=tuple(notes))]


FORMAT = json_format(
    "openpifpaf",
    "OpenPifPaf",
    "folder of `*.predictions.json`, or the JSON lines of a video",
    "17 joints `coco17`, 133 `wholebody133`",
    "`--fps`",
    detect,
    read,
    is_frame=is_frame,
    options=("--fps", "--layout"),
)
