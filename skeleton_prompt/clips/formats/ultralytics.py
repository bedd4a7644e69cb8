"""Ultralytics YOLO pose: ``Results.to_json()`` of each frame, and the label files of ``save_txt``.

A detection has ``keypoints`` as an object of the lists ``x``, ``y`` and ``visible``, in pixels, or as fractions with
``normalize=True``; joints that were not found are at (0, 0). A line of a label file is class, box (4), then x, y and
confidence of each joint as fractions, then the confidence with ``save_conf`` and the track id when tracking.
Source: ultralytics/ultralytics, ultralytics/engine/results.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from skeleton_prompt.clips.formats.errors import FormatError
from skeleton_prompt.clips.formats.format import Format, json_format
from skeleton_prompt.clips.formats.instances import as_fractions, coco_family_layout, has_columns, read_instance
from skeleton_prompt.clips.formats.json_values import frame_items, frame_number, objects, stated_fps, stated_size
from skeleton_prompt.clips.formats.options import ReadOptions
from skeleton_prompt.clips.formats.people import Detection, Frame
from skeleton_prompt.clips.formats.recording import Recording
from skeleton_prompt.clips.formats.source import Source, parse_json

_LISTS = ("detections", "predictions", "results", "objects", "persons", "people", "boxes", "keypoints")
_HEAD = 5  # class and box before the joints
_JOINTS = 17


def is_frame(value: Any) -> bool:
    """Whether a document is one frame: a list of detections, or an object that holds one."""
    if isinstance(value, Mapping):
        return any(isinstance(value.get(key), list) and is_frame(value[key]) for key in _LISTS)
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value[:8]):
        return False
    return any(map(has_columns, value[:50]))


def _parsed(value: Any, place: str) -> Any:
    """The document with frames that are JSON text, as ``to_json`` gives them, parsed."""
    if isinstance(value, list) and any(isinstance(item, str) for item in value):
        return [parse_json(item, place) if isinstance(item, str) else item for item in value]
    return value


def detect(value: Any) -> float:
    """How surely a JSON document is of Ultralytics."""
    if isinstance(value, list) and value and isinstance(value[0], str):
        first = next((item for item in value if isinstance(item, str) and '"keypoints"' in item), None)
        return 0.9 if first is not None and first.lstrip().startswith(("[", "{")) else 0.0
    return 0.9 if frame_items(value, is_frame) else 0.0


def read(value: Any, options: ReadOptions, place: str) -> list[Recording]:
    """The recording of a list of frames, or of one frame."""
    value = _parsed(value, place)
    items = frame_items(value, is_frame) or []
    if len(items) == 1 and items[0][1] is value:
        items = _by_frame(value)
    frames = []
    for number, frame in items:
        people = [read_instance(row, place)[1] for row in _detections(frame) if has_columns(row)]
        frames.append(Frame(people, number))
    notes: list[str] = []
    frames, layout = coco_family_layout(frames, options, notes, place, "Ultralytics")
    return [
        Recording(
            frames,
            "xyc",
            layout,
            fps=stated_fps(value),
            image_size=stated_size(value),
            units=as_fractions(frames),
            notes=tuple(notes),
        )
    ]


def _detections(frame: Any) -> list[Mapping[str, Any]]:
    if isinstance(frame, Mapping):
        frame = next((frame[key] for key in _LISTS if is_frame(frame.get(key))), [])
        return _detections(frame)
    return list(objects(frame))


def _by_frame(value: Any) -> list[tuple[int | None, Any]]:
    """Detections of one list, by the frame number that each states; one frame if they state none."""
    numbers = [frame_number({k: v for k, v in row.items() if k != "id"}) for row in _detections(value)]
    if not numbers or any(number is None for number in numbers) or len(set(numbers)) < 2:
        return [(None, value)]
    frames: dict[int | None, list[Any]] = defaultdict(list)
    for number, row in zip(numbers, _detections(value), strict=True):
        frames[number].append(row)
    return sorted(frames.items(), key=lambda item: item[0] or 0)


def is_label_file(source: Source) -> float:
    """How surely a text file is a pose label file of Ultralytics."""
    if source.suffix != ".txt":
        return 0.0
    rows = [line.split() for line in source.text[:20_000].splitlines()[:20] if line.strip()]
    if not rows or not all(row[0].isdecimal() for row in rows):
        return 0.0
    try:
        numbers = [[float(word) for word in row] for row in rows[:10]]
    except ValueError:
        return 0.0
    boxes = all(0 <= value <= 1.5 for row in numbers for value in row[1:_HEAD])
    widths = {_width(len(row)) for row in rows[:10]}
    return 0.8 if boxes and widths <= {2, 3} else 0.0


def _width(length: int) -> int | None:
    """Numbers for each of 17 joints in a line of this length: 3, 2, or None if it is no pose line."""
    for width in (3, 2):
        if length - _HEAD - width * _JOINTS in (0, 1, 2):
            return width
    return None


def read_label_file(source: Source, options: ReadOptions) -> list[Recording]:
    """The one frame of a label file; a folder of them is one recording."""
    people = []
    for number, line in enumerate(source.lines, 1):
        words = line.split()
        if not words:
            continue
        width = _width(len(words))
        if width is None:
            raise FormatError(source.path, f"line {number}: {len(words)} numbers are no pose of {_JOINTS} joints")
        try:
            row = np.array([float(word) for word in words])
        except ValueError:
            raise FormatError(source.path, f"line {number}: not numbers") from None
        people.append(_label_line(row, width))
    notes = ("17 joints are taken as coco17; --layout says otherwise",) if options.layout is None else ()
    return [Recording([Frame(people)], "xyc", "coco17", units="fraction", notes=notes)]


def _label_line(row: Any, width: int) -> Detection:
    """One line: joints, then the confidence (a fraction) and the track id (a whole number), each optional."""
    end = _HEAD + width * _JOINTS
    joints, rest = row[_HEAD:end].reshape(_JOINTS, width), row[end:]
    if width == 2:
        joints = np.hstack([joints, (joints != 0).any(1)[:, None].astype(float)])
    track = score = None
    if len(rest) == 2:
        score, track = float(rest[0]), int(rest[1])
    elif len(rest) == 1:
        if float(rest[0]).is_integer() and rest[0] >= 1:
            track = int(rest[0])
        else:
            score = float(rest[0])
    return Detection(joints, track, score)


FORMAT = json_format(
    "ultralytics",
    "Ultralytics YOLO",
    "`.json`: a list with the `to_json()` of each frame, or JSON lines",
    "17 joints `coco17`",
    "`--fps`",
    detect,
    read,
    is_frame=is_frame,
    options=("--fps", "--image-size"),
)
LABELS = Format(
    "ultralytics-txt",
    "Ultralytics YOLO labels",
    (".txt",),
    "folder of `save_txt` files (one for each frame with a detection)",
    "17 joints `coco17`",
    "`--fps`",
    is_label_file,
    read_label_file,
    options=("--image-size", "--fps"),
)
