"""Person-tracked dictionaries: ``{person: {frame: {"keypoints": [...], "scores": ...}}}``.

Written by the pose-based anomaly detection sets (``*_alphapose_tracked_person.json`` of STG-NF, GEPC, PoseLift).
``keypoints`` is flat: x, y and confidence of 17 joints in COCO's order; ``scores`` is the score of the person or null.
Source: orhir/STG-NF, README "Data preparation"; TeCSAR-UNCC/PoseLift.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import islice
from typing import Any

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
from skeleton_prompt.clips.formats.json_values import whole
from skeleton_prompt.clips.formats.options import ReadOptions
from skeleton_prompt.clips.formats.people import Detection, Frame
from skeleton_prompt.clips.formats.recording import Recording


def detect(value: Any) -> float:
    """How surely a JSON document is a person-tracked dictionary."""
    if not isinstance(value, Mapping) or not value:
        return 0.0
    for frames in islice(value.values(), 8):
        if not isinstance(frames, Mapping) or not frames:
            return 0.0
        for name, row in islice(frames.items(), 8):
            if whole(name) is None or not (has_flat(row) or has_rows(row)):
                return 0.0
    return 0.9


def read(value: Any, options: ReadOptions, place: str) -> list[Recording]:
    """One recording with every person; one clip for each is made of it."""
    frames: dict[int, list[Detection]] = defaultdict(list)
    kinds = []
    for track, rows in value.items():
        for name, row in rows.items():
            number = whole(name)
            if number is None:
                raise FormatError(place, f"person {str(track)[:40]!r}: {str(name)[:40]!r} is no frame number")
            plain = {key: item for key, item in row.items() if key not in ("idx", "track_id")}
            coords, person = read_instance(plain, place)
            kinds.append(coords)
            frames[number].append(Detection(person.values, str(track), person.score))
    notes: list[str] = []
    listed, layout = coco_family_layout(
        [Frame(people, number) for number, people in sorted(frames.items())], options, notes, place, "tracked-person"
    )
    coords = one_coords(kinds, place)
    return [Recording(listed, coords, layout, units=as_fractions(listed), notes=tuple(notes), per_person=True)]


FORMAT = json_format(
    "tracked-person",
    "person-tracked dictionary (STG-NF, PoseLift)",
    "`*_tracked_person.json`: person, then frame, then `keypoints`; one clip for each person",
    "17 joints `coco17`",
    "`--fps`",
    detect,
    read,
    options=("--fps", "--layout"),
)
