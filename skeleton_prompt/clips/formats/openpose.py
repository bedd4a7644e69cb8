"""OpenPose ``--write_json``: one file for each frame, and AlphaPose's ``--format open`` and ``cmu``.

Each file has ``people``, each with ``pose_keypoints_2d`` (x, y, confidence; flat) and, with ``--3d``,
``pose_keypoints_3d`` (x, y, z, confidence). Source: OpenPose, doc/02_output.md. OpenPose 1.0 wrote
``pose_keypoints``. AlphaPose writes the same 18 joints in one object by image name, or as ``bodies`` with ``joints``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skeleton_prompt.clips.formats.errors import AmbiguousFile, FormatError
from skeleton_prompt.clips.formats.format import json_format
from skeleton_prompt.clips.formats.json_values import frame_items, joint_rows, objects, stated_fps
from skeleton_prompt.clips.formats.options import ReadOptions
from skeleton_prompt.clips.formats.people import Detection, Frame
from skeleton_prompt.clips.formats.recording import Recording

MPI_15 = (
    "head", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "chest",
)  # fmt: skip
LAYOUTS: dict[int, str | tuple[str, ...]] = {25: "openpose25", 18: "openpose18", 15: MPI_15}
BODY_135, BODY_25B = 135, 25  # the first 25 joints of BODY_135 are those of BODY_25B
_FLAT, _DEEP = ("pose_keypoints_2d", "pose_keypoints", "joints"), ("pose_keypoints_3d", "body_keypoints_3d")
_PARTS = (*_FLAT, *_DEEP, "face_keypoints_2d", "hand_left_keypoints_2d")


def is_frame(value: Any) -> bool:
    """Whether a JSON document is one frame of OpenPose."""
    if not isinstance(value, Mapping):
        return False
    people = value.get("people", value.get("bodies"))
    if not isinstance(people, list):
        return False
    if not people:
        return "version" in value
    return all(
        isinstance(person, Mapping) and any(isinstance(person.get(part), list) for part in _PARTS)
        for person in people[:8]
    )


def detect(value: Any) -> float:
    """How surely a JSON document is of OpenPose."""
    return 0.95 if frame_items(value, is_frame) else 0.0


def read(value: Any, options: ReadOptions, place: str) -> list[Recording]:
    """The recording of one or many frames."""
    items = frame_items(value, is_frame)
    if not items:
        raise FormatError(place, "no OpenPose frames in this file")
    people = [person for _, frame in items for person in objects(_people(frame))]
    deep = _is_deep(people, options)
    notes: list[str] = []
    frames = []
    for number, frame in items:
        own = [_detection(person, deep, place) for person in objects(_people(frame))]
        frames.append(Frame([person for person in own if person is not None], number))
    frames, layout = _layout(frames, options, notes, place)
    if deep:
        notes.append("3-D keypoints of OpenPose: axes of its first camera, y down")
    return [
        Recording(
            frames,
            "xyzc" if deep else "xyc",
            layout,
            fps=stated_fps(value),
            y_axis="down" if deep else None,
            notes=tuple(notes),
        )
    ]


def _people(frame: Any) -> Any:
    return frame.get("people", frame.get("bodies")) if isinstance(frame, Mapping) else None


def _is_deep(people: list[Mapping[str, Any]], options: ReadOptions) -> bool:
    """Whether the 3-D keypoints are read: where asked for, or where there are no others."""
    if options.coords in ("xyz", "xyzc"):
        return True
    flat = any(person.get(key) for person in people for key in _FLAT)
    return not flat and any(person.get(key) for person in people for key in _DEEP)


def _detection(person: Mapping[str, Any], deep: bool, place: str) -> Detection | None:
    values = next((person[key] for key in (_DEEP if deep else _FLAT) if person.get(key)), None)
    if values is None:
        return None
    rows = joint_rows(values, 4 if deep else 3, place)
    track = person.get("person_id")
    if isinstance(track, list):
        track = track[0] if len(track) == 1 else None
    known = isinstance(track, int) and not isinstance(track, bool) and track >= 0
    return Detection(rows, track if known else None, float(rows[:, -1].sum()))


def _layout(
    frames: list[Frame], options: ReadOptions, notes: list[str], place: str
) -> tuple[list[Frame], str | tuple[str, ...] | None]:
    """The layout by the number of joints; BODY_135 is cut to its body."""
    joints = next((len(person.values) for frame in frames for person in frame.people), 0)
    if options.layout is not None or not joints:
        return frames, None
    if joints == BODY_135:
        notes.append("BODY_135: the 25 joints of the body are kept, hands and face are left out")
        cut = [
            Frame(
                [Detection(person.values[:BODY_25B], person.track, person.score) for person in frame.people],
                frame.number,
            )
            for frame in frames
        ]
        return cut, "body_25b"
    if joints not in LAYOUTS:
        raise AmbiguousFile(
            place,
            f"{joints} joints for each person; OpenPose has 25, 18 or 15: give --layout NAME or --layout joint,names",
        )
    return frames, LAYOUTS[joints]


FORMAT = json_format(
    "openpose",
    "OpenPose",
    "folder of `*_keypoints.json` (one file for each frame), also AlphaPose `--format open` and `cmu`",
    "by the number of joints: 25 `openpose25`, 18 `openpose18`, 15 MPI, 135 its body; `--layout body_25b` for BODY_25B",
    "`--fps`",
    detect,
    read,
    is_frame=is_frame,
    options=("--fps", "--layout"),
)
