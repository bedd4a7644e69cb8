"""COCO keypoint files: annotations (COCO, CVAT, PoseTrack, Label Studio) and results (COCO, AlphaPose, Detectron2).

Annotations have ``images``, ``annotations`` with ``keypoints`` (x, y, flag: 0 not labelled, 1 occluded, 2 visible;
flat) and ``categories`` with the joint names. Results are a list of objects with ``image_id`` and ``keypoints``
(x, y, confidence; flat). Sources: cocodataset.org, "Data format"; CVAT, "COCO Keypoints"; AlphaPose, docs/output.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skeleton_prompt.clips.formats.errors import FormatError
from skeleton_prompt.clips.formats.format import json_format
from skeleton_prompt.clips.formats.instances import (
    as_fractions,
    coco_family_layout,
    has_flat,
    has_rows,
    one_coords,
    read_instance,
)
from skeleton_prompt.clips.formats.json_values import SAMPLE, objects, stated_fps, stated_size, text, whole
from skeleton_prompt.clips.formats.layout_choice import known_layout
from skeleton_prompt.clips.formats.options import ReadOptions
from skeleton_prompt.clips.formats.people import Detection, Frame
from skeleton_prompt.clips.formats.recording import Recording
from skeleton_prompt.clips.formats.series import frame_series

_VIDEO_KEYS = ("video_id", "vid_id")
_FRAME_KEYS = ("frame_id", "frame_index", "frame_num", "frame")
_FLAGS = {0.0, 1.0, 2.0}


def detect_annotations(value: Any) -> float:
    """How surely a JSON document is COCO annotations with keypoints."""
    if not isinstance(value, Mapping) or not isinstance(value.get("annotations"), list):
        return 0.0
    if not isinstance(value.get("images"), list):
        return 0.0
    sample = list(objects(value["annotations"][:SAMPLE]))
    return 0.95 if any("keypoints" in row and "image_id" in row for row in sample) else 0.0


def read_annotations(value: Any, options: ReadOptions, place: str) -> list[Recording]:
    """One recording for each video and skeleton of the file."""
    images = {image["id"]: image for image in objects(value["images"]) if isinstance(image.get("id"), (int, str))}
    rows = [
        row for row in objects(value["annotations"])
        if row.get("keypoints") and _image_of(row) in images and not row.get("iscrowd")
    ]  # fmt: skip
    if not rows:
        raise FormatError(place, "COCO annotations without keypoints of any listed image")
    skeletons: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        skeletons[str(row.get("category_id"))].append(row)
    names = {str(category.get("id")): category for category in objects(value.get("categories"))}
    recordings = []
    for category, own in skeletons.items():
        kind = names.get(category, {})
        for title, members in _videos(images, own, single=len(skeletons) == 1):
            recordings.append(_annotated(title, members, images, own, kind, value, options, place))
    return recordings


def _image_of(row: Mapping[str, Any]) -> int | str | None:
    """The image that an annotation is about; None if it names none."""
    found = row.get("image_id")
    return found if isinstance(found, (int, str)) else None


def _videos(
    images: Mapping[Any, Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], *, single: bool
) -> list[tuple[str, list[tuple[int | None, Any]]]]:
    """Images by video: (title, [(frame number, image id)])."""
    used = {row["image_id"] for row in rows}
    chosen = list(images) if single else [key for key in images if key in used]
    by_video: dict[Any, list[Any]] = defaultdict(list)
    members: list[tuple[int | None, Any]]
    for key in chosen:
        video = next((text(images[key][name]) for name in _VIDEO_KEYS if images[key].get(name) is not None), None)
        by_video[video].append(key)
    found: list[tuple[str, list[tuple[int | None, Any]]]] = []
    for video, keys in by_video.items():
        numbers = [
            next((whole(images[key].get(name)) for name in _FRAME_KEYS if name in images[key]), None) for key in keys
        ]
        if all(number is not None for number in numbers) and len(set(numbers)) == len(numbers):
            found.append((str(video) if video is not None else "", list(zip(numbers, keys, strict=True))))
            continue
        files = [str(images[key].get("file_name") or images[key].get("id")) for key in keys]
        for series in frame_series(files):
            members = [(number, keys[index]) for number, index in series.members]
            if any(key in used for _, key in members):
                found.append((series.prefix or (str(video) if video is not None else ""), members))
    return found


def _annotated(
    title: str,
    members: Sequence[tuple[int | None, Any]],
    images: Mapping[Any, Mapping[str, Any]],
    rows: Sequence[Mapping[str, Any]],
    kind: Mapping[str, Any],
    value: Mapping[str, Any],
    options: ReadOptions,
    place: str,
) -> Recording:
    by_image: dict[Any, list[Detection]] = defaultdict(list)
    wanted = {key for _, key in members}
    for row in rows:
        if row["image_id"] in wanted:
            _, person = read_instance(row, place, flags=True)
            if (person.values[:, 2] > 0).any():
                by_image[row["image_id"]].append(person)
    frames = [Frame(by_image[key], number) for number, key in members]
    notes: list[str] = []
    joints = kind.get("keypoints")
    layout: str | tuple[str, ...] | None
    if isinstance(joints, list) and joints:
        layout = known_layout([str(joint) for joint in joints])
    else:
        frames, layout = coco_family_layout(frames, options, notes, place, "COCO")
    sizes = {stated_size(images[key]) for key in wanted}
    return Recording(
        frames,
        "xyc",
        layout,
        fps=stated_fps(value),
        image_size=sizes.pop() if len(sizes) == 1 else None,
        id=title.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] or None,
        notes=tuple(notes),
    )


def _is_result(value: Any) -> bool:
    return (has_flat(value) or has_rows(value)) and "image_id" in value


def detect_results(value: Any) -> float:
    """How surely a JSON document is a list of COCO results."""
    sample = list(objects(value[:SAMPLE])) if isinstance(value, list) else []
    return 0.95 if sample and all(map(_is_result, sample)) else 0.0


def read_results(value: Any, options: ReadOptions, place: str) -> list[Recording]:
    """One recording for each series of image names."""
    rows = [row for row in objects(value) if _is_result(row)]
    names: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        names[text(row["image_id"]) or ""].append(row)
    keys = list(names)
    recordings = []
    for series in frame_series(keys):
        notes: list[str] = []
        kinds: list[str] = []
        frames = []
        for number, index in series.members:
            people = []
            for row in names[keys[index]]:
                coords, person = read_instance(row, place)
                kinds.append(coords)
                people.append(person)
            frames.append(Frame(people, number))
        coords = one_coords(kinds, place)
        if _are_flags(frames):
            notes.append("the third numbers are COCO's flags: 0 is not seen, 1 and 2 are seen")
            for frame in frames:
                for person in frame.people:
                    np.minimum(person.values[:, -1], 1.0, out=person.values[:, -1])
        frames, layout = coco_family_layout(frames, options, notes, place, "COCO result")
        units = as_fractions(frames)
        title = series.prefix.replace("\\", "/").rsplit("/", 1)[-1]
        recordings.append(Recording(frames, coords, layout, id=title or None, units=units, notes=tuple(notes)))
    return recordings


def _are_flags(frames: Sequence[Frame]) -> bool:
    """Whether the confidences are whole numbers 0, 1 and 2, with a 2 among them."""
    found: set[float] = set()
    for frame in frames:
        for person in frame.people:
            found |= set(np.unique(person.values[:, -1]).tolist())
            if not found <= _FLAGS:
                return False
    return 2.0 in found


ANNOTATIONS = json_format(
    "coco",
    "COCO keypoint annotations (CVAT, PoseTrack)",
    "`.json` with `images`, `annotations` and `categories`; one clip for each video or series of image names",
    "joint names of the category",
    "`--fps`",
    detect_annotations,
    read_annotations,
    options=("--fps",),
)
RESULTS = json_format(
    "alphapose",
    "AlphaPose, COCO results (Detectron2)",
    "`alphapose-results.json` or another list with `image_id` and `keypoints`; people by `idx` or `track_id`",
    "by the number of joints: 17 `coco17`, 26 and 136 `halpe26`, 133 `wholebody133`",
    "`--fps`",
    detect_results,
    read_results,
    options=("--fps", "--layout"),
)
