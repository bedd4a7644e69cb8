"""Joints as JSON objects: MediaPipe, TensorFlow.js (MoveNet, BlazePose, PoseNet), Apple Vision, Kinect.

A joint is an object with ``x`` and ``y`` (or a ``position`` that holds them), perhaps ``z``, a confidence and a name;
a person is a list of joints or an object of joints by name. MediaPipe's image landmarks are fractions of the image,
its world landmarks metres from the middle of the hips with y down. Apple Vision has fractions with y up.
Sources: MediaPipe, "Pose landmark detection guide"; tensorflow/tfjs-models, pose-detection; Apple,
VNHumanBodyPoseObservation; Microsoft, Kinect for Windows SDK 2.0, "Coordinate mapping".
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skeleton_prompt.clips.formats.errors import AmbiguousFile, FormatError
from skeleton_prompt.clips.formats.format import json_format
from skeleton_prompt.clips.formats.instances import as_fractions, track_of
from skeleton_prompt.clips.formats.json_values import (
    MAX_LEVELS,
    SAMPLE,
    frame_number,
    frame_seconds,
    number,
    stated_fps,
    stated_size,
    text,
    whole,
)
from skeleton_prompt.clips.formats.layout_choice import known_layout
from skeleton_prompt.clips.formats.options import ReadOptions
from skeleton_prompt.clips.formats.people import Detection, Frame
from skeleton_prompt.clips.formats.recording import Recording
from skeleton_prompt.clips.formats.series import frame_series

Point = Mapping[str, Any]

MIN_JOINTS = 5  # fewer points are a box or a line
MAX_PEOPLE_OF_FRAME = 4  # a list of more persons is taken as frames with one person each
_POSITIONS = ("position", "Position", "location", "pos", "cameraSpacePoint")
_NAMES = ("name", "part", "joint", "jointName", "joint_name", "JointType", "jointType", "label", "type", "key")
_SCORES = ("score", "confidence", "visibility", "likelihood", "conf", "probability", "presence", "Confidence")
_STATES = ("TrackingState", "trackingState", "tracking_state", "state")
_STATE_VALUES = {"nottracked": 0.0, "inferred": 0.5, "tracked": 1.0, "0": 0.0, "1": 0.5, "2": 1.0}
_PERSON_KEYS = ("keypoints", "landmarks", "landmark", "joints", "Joints", "points", "pose", "recognizedPoints")
_DEEP_PERSON_KEYS = ("keypoints3D", "keypoints3d", "keypoints_3d")
_IMAGE_KEYS = ("poseLandmarks", "pose_landmarks", "landmarks", "image_landmarks", "normalized_landmarks")
_WORLD_KEYS = ("worldLandmarks", "poseWorldLandmarks", "pose_world_landmarks", "world_landmarks")
_PEOPLE_KEYS = ("poses", "people", "persons", "bodies", "Bodies", "skeletons", "observations", "detections")
_FRAMES_KEYS = ("frames", "Frames", "data", "results", "poses", "sequence", "recording", "keypoints", "landmarks")
_APPLE = ("left_upleg_joint", "neck_1_joint", "left_shoulder_1_joint", "right_upleg_joint")
COUNTS = {33: "mediapipe33", 17: "coco17"}


def is_point(value: Any) -> bool:
    """Whether an object is a joint."""
    if not isinstance(value, Mapping):
        return False
    inner = _place_of(value)
    return inner is not None and all(_coordinate(inner, axis) is not _ABSENT for axis in "xy")


_ABSENT = object()


def _place_of(value: Point) -> Point | None:
    """The object with the coordinates: the joint itself or its ``position``."""
    if "x" in value or "X" in value:
        return value
    for key in _POSITIONS:
        inner = value.get(key)
        if isinstance(inner, Mapping) and ("x" in inner or "X" in inner):
            return inner
        if isinstance(inner, list) and 2 <= len(inner) <= 3:
            return dict(zip("xyz", inner, strict=False))
    return None


def _coordinate(place: Point, axis: str) -> object:
    value = place.get(axis, place.get(axis.upper(), _ABSENT))
    return value if value is None or isinstance(value, (int, float)) else _ABSENT


def points_of(value: Any, levels: int = MAX_LEVELS) -> list[tuple[str | None, Point | None]] | None:
    """Joints of a person with their names (None where unnamed; a joint of null was not seen), or None if it is none."""
    if isinstance(value, Mapping) and not is_point(value):
        for key in _PERSON_KEYS:
            if key in value:
                found = points_of(value[key], levels - 1) if levels else None
                if found:
                    return found
        names = [name for name, item in value.items() if is_point(item)]
        others = [name for name, item in value.items() if not is_point(item) and isinstance(item, (list, Mapping))]
        if len(names) < MIN_JOINTS or others:
            return None
        if all(whole(name) is not None for name in names):
            return [(None, value[name]) for name in sorted(names, key=int)]
        return [(str(name), value[name]) for name in names]
    joints = isinstance(value, list) and len(value) >= MIN_JOINTS and any(value)
    if joints and all(item is None or is_point(item) for item in value):
        return [(_name_of(item) if item else None, item) for item in value]
    return None


def _name_of(point: Point) -> str | None:
    return next((point[key].strip() for key in _NAMES if isinstance(point.get(key), str) and point[key].strip()), None)


@dataclass(frozen=True)
class _Group:
    """Persons of one frame, and whether they are world landmarks."""

    people: list[Any]
    world: bool = False
    item: Any = None


def frame_of(value: Any, *, flat: bool = False) -> _Group | None:
    """The persons of one frame, or None if the value is no frame.

    Args:
        value: part of a JSON document.
        flat: prefer image landmarks to world landmarks.
    """
    if isinstance(value, Mapping):
        image = next((value[key] for key in _IMAGE_KEYS if value.get(key)), None)
        world = next((value[key] for key in _WORLD_KEYS if value.get(key)), None)
        for part, is_world in ((image, False), (world, True)) if flat else ((world, True), (image, False)):
            people = _people_of(part)
            if people:
                return _Group(people, is_world, value)
        if any(key in value for key in (*_IMAGE_KEYS, *_WORLD_KEYS)) and not (image or world):
            return _Group([], item=value)
        for key in _PEOPLE_KEYS:
            people = _people_of(value.get(key))
            if people is not None and (people or _numbered(value)):
                return _Group(people, item=value)
    if points_of(value):
        return _Group([value], item=value)
    if isinstance(value, list) and 0 < len(value) <= MAX_PEOPLE_OF_FRAME and all(map(points_of, value)):
        return _Group(value, item=value)
    return None


def _numbered(value: Mapping[str, Any]) -> bool:
    return frame_number(value) is not None or frame_seconds(value) is not None


def _people_of(part: Any) -> list[Any] | None:
    """Persons out of what a key holds: one person, or a list of them; None if it is neither."""
    if part is None:
        return None
    if points_of(part):
        return [part]
    if isinstance(part, list):
        people = [person for person in part if person]
        return people if all(map(points_of, people)) else None
    return None


def is_frame(value: Any) -> bool:
    """Whether a document is one frame."""
    return frame_of(value) is not None


def _frames(value: Any, *, flat: bool, levels: int = MAX_LEVELS) -> list[_Group | None] | None:
    """The frames of a document, None for a frame without anybody; None altogether if the document has none."""
    if isinstance(value, Mapping) and frame_of(value, flat=flat) is None:
        for key in _FRAMES_KEYS:
            inside = value.get(key)
            found = (
                _frames(inside, flat=flat, levels=levels - 1) if levels and isinstance(inside, (list, dict)) else None
            )
            if found:
                return found
        names = list(value)
        series = frame_series(names) if names and all(whole(name) is not None for name in names) else []
        if len(series) != 1:
            return None
        return _frames([value[names[index]] for _, index in series[0].members], flat=flat, levels=0)
    if isinstance(value, list) and not points_of(value):
        sample = list(itertools.islice((item for item in value if item), SAMPLE))
        if not sample or not all(frame_of(item, flat=flat) for item in sample):
            return None
        groups = [frame_of(item, flat=flat) if item else None for item in value]
        if any(groups) and all(group or not item for group, item in zip(groups, value, strict=True)):
            return groups
        return None
    one = frame_of(value, flat=flat)
    return [one] if one else None


def detect(value: Any) -> float:
    """How surely a JSON document holds joints as objects."""
    sample = value[:20] if isinstance(value, list) and not points_of(value) else value
    return 0.75 if _frames(sample, flat=False) else 0.0


def read(value: Any, options: ReadOptions, place: str) -> list[Recording]:
    """The recording of a document."""
    groups = _frames(value, flat=options.coords in ("xy", "xyc")) or []
    people = [points_of(person) or [] for group in groups if group for person in group.people]
    if not people:
        raise FormatError(place, "no person in any frame of this file")
    deep = options.coords in ("xyz", "xyzc") and any(_deep_points(p) for g in groups if g for p in g.people)
    names = _joint_names(people)
    world = any(group.world for group in groups if group)
    kind = _Kind.of(people, names, world=world or deep)
    frames = [_frame(group, names, kind, deep, place) for group in groups]
    notes = list(kind.notes)
    stated = value if isinstance(value, Mapping) else {}
    layout: str | tuple[str, ...] | None = known_layout(names) if names else COUNTS.get(len(people[0]))
    if not names and isinstance(stated.get("layout"), str):
        layout = stated["layout"]
    if not names and layout and options.layout is None:
        notes.append(f"{len(people[0])} joints without names are taken as {layout}; --layout says otherwise")
    return [
        Recording(
            frames,
            "xyzc" if kind.deep else "xyc",
            layout,
            fps=stated_fps(value),
            image_size=stated_size(value),
            y_axis=kind.y_axis,
            unknown_axes=kind.deep and kind.y_axis is None,
            units=None if kind.deep else as_fractions(frames),
            id=text(stated.get("id")),
            label=text(stated.get("label")),
            group=text(stated.get("group")),
            notes=tuple(notes),
        )
    ]


def _deep_points(person: Any) -> Any:
    return (
        next((person[key] for key in _DEEP_PERSON_KEYS if person.get(key)), None)
        if isinstance(person, Mapping)
        else None
    )


def _joint_names(people: Sequence[Sequence[tuple[str | None, Point | None]]]) -> list[str]:
    """Names of all joints in the order of their first appearance; empty where joints have no names."""
    names: dict[str, None] = {}
    for person in people:
        for name, _ in person:
            if name:
                names.setdefault(name)
    return list(names)


@dataclass(frozen=True)
class _Kind:
    """What the coordinates of a document are."""

    deep: bool
    y_axis: str | None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, people: Sequence[Sequence[tuple[str | None, Point | None]]], names: list[str], *, world: bool) -> _Kind:
        """Decide by names and by what the tools document."""
        plain = {name.lower().replace(" ", "_") for name in names}
        bare = {name.replace("_", "") for name in plain}
        points = [point for person in people for _, point in person if point]
        has_z = all(_coordinate(_place_of(point) or {}, "z") is not _ABSENT for point in points)
        if world:
            return cls(True, "down", ("world landmarks: metres from the middle of the hips, y down",))
        if plain & set(_APPLE):
            return cls(False, "up", ("Apple Vision: fractions of the image with y up",))
        if {"spinebase", "spinemid"} <= bare or {"hipcenter", "shouldercenter"} <= bare:
            if has_z:
                return cls(True, "up", ("Kinect camera space: metres, y up",))
            return cls(False, "down")
        if {"spinenavel", "spinechest"} <= bare or {"spinenaval", "spinechest"} <= bare:
            return cls(has_z, "down", ("Azure Kinect depth camera space: y down",) if has_z else ())
        if not has_z:
            return cls(False, None)
        if len(people[0]) == 33:
            if _hips_at_origin(people):
                return cls(
                    True, "down", ("landmarks centred on the hips are taken as MediaPipe's world landmarks: y down",)
                )
            return cls(False, "down", ("image landmarks: z, which is only a relative depth, is left out",))
        return cls(True, None)


def _hips_at_origin(people: Sequence[Sequence[tuple[str | None, Point | None]]]) -> bool:
    """Whether the middle of the hips (landmarks 23 and 24) is the origin, as documented for world landmarks."""
    middles = []
    for person in people[:50]:
        left, right = (person[index][1] if len(person) == 33 else None for index in (23, 24))
        if left and right:
            ends = [[number(_coordinate(_place_of(point) or {}, axis)) for axis in "xy"] for point in (left, right)]
            middles.append(np.abs(np.mean(ends, 0)).max())
    return bool(middles) and float(np.median(middles)) < 0.03


def _frame(group: _Group | None, names: list[str], kind: _Kind, deep: bool, place: str) -> Frame:
    if group is None:
        return Frame()
    people = []
    for person in group.people:
        points = points_of(_deep_points(person) if deep else person)
        if points:
            track = track_of(person) if isinstance(person, Mapping) else None
            people.append(Detection(_rows(points, names, kind, place), track))
    item = group.item if isinstance(group.item, Mapping) else {}
    item = {key: value for key, value in item.items() if key not in ("id", "index")}  # of a person, not of a frame
    return Frame(people, frame_number(item), frame_seconds(item))


def _rows(points: Sequence[tuple[str | None, Point | None]], names: list[str], kind: _Kind, place: str) -> Any:
    """(J, C) of one person: by name where joints are named, else in order."""
    width = 4 if kind.deep else 3
    order = {name: index for index, name in enumerate(names)}
    rows = np.full((len(names) or len(points), width), np.nan)
    for index, (name, point) in enumerate(points):
        if point is None:
            continue
        if names and name is None:
            raise AmbiguousFile(place, f"joint {index} has no name where others have one")
        inner = _place_of(point) or {}
        found = [_coordinate(inner, axis) for axis in ("xyz" if kind.deep else "xy")]
        values = [number(None if value is _ABSENT else value) for value in found]
        rows[order[name] if name and names else index] = [*values, _confidence(point)]
    return rows


def _confidence(point: Point) -> float:
    """Confidence of a joint, 1 where the tool gives none."""
    for key in _STATES:
        state = point.get(key)
        if isinstance(state, (int, str)):
            found = _STATE_VALUES.get(str(state).lower().rsplit("_", 1)[-1].replace(" ", ""))
            if found is not None:
                return found
    for key in _SCORES:
        value = point.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    return 1.0


FORMAT = json_format(
    "landmarks",
    "MediaPipe, TensorFlow.js (MoveNet, BlazePose, PoseNet), Apple Vision, Kinect v2 (joints as objects)",
    "`.json` or JSON lines: frames of people of joints with `x`, `y`, perhaps `z`, `visibility` or `score`, and `name`",
    "names of the joints; without names 33 `mediapipe33`, 17 `coco17`",
    "time stamps of the frames, or `--fps`",
    detect,
    read,
    is_frame=is_frame,
    options=("--fps", "--image-size", "--layout", "--coords"),
)
