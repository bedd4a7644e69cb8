"""The fields of a clip that are not keypoints: layout, image size, texts and segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from skeleton_prompt.clips.layouts import (
    BadLayout,
    Layout,
    UnknownLayout,
    resolve_layout,
    unknown_layout_message,
)
from skeleton_prompt.clips.timing import frames_hint
from skeleton_prompt.clips.validation import ClipLimits, ProblemCollector, number, preview

MAX_TEXT = 128
MAX_SEGMENTS = 1000


@dataclass(frozen=True)
class Segment:
    """A labelled part of a long recording, in seconds; a label of None is background."""

    label: str | None
    start: float
    end: float


def read_layout(document: Mapping[str, Any], limits: ClipLimits, found: ProblemCollector) -> Layout | None:
    """``layout``: a built-in one by name, or a custom one by joint names."""
    spec = document.get("layout")
    if spec is None:
        found.add("layout", "missing_layout", "a clip needs a layout: a name from GET /layouts, or joint names")
        return None
    try:
        layout = resolve_layout(spec)
    except UnknownLayout as error:
        joints = _joint_count(document)
        message = str(error.args[0]) if joints is None else unknown_layout_message(str(spec), joints)
        found.add("layout", "unknown_layout", message)
        return None
    except BadLayout as error:
        if error.rule == "too_many_joints":
            raise found.too_large("layout.joints", error.rule, str(error)) from None
        place = "layout" if error.rule == "not_a_layout" else "layout.joints"
        found.add(place if error.index is None else f"{place}[{error.index}]", error.rule, str(error))
        return None
    if len(layout.joints) > limits.max_joints:
        message = f"{len(layout.joints)} joints; max_joints is {limits.max_joints}"
        raise found.too_large("layout.joints", "too_many_joints", message)
    return layout


def _joint_count(document: Mapping[str, Any]) -> int | None:
    """Number of joints that the first frame with a person has, None if that is not to be seen."""
    keypoints = document.get("keypoints")
    shape = keypoints.shape if isinstance(keypoints, np.ndarray) else document.get("shape")
    if isinstance(shape, (list, tuple)) and len(shape) in (3, 4):
        return shape[-2] if type(shape[-2]) is int else None
    frame = next((frame for frame in keypoints if frame), None) if isinstance(keypoints, list) else None
    if not isinstance(frame, list):
        return None
    person = frame[0] if isinstance(frame[0], list) and frame[0] and isinstance(frame[0][0], list) else frame
    return len(person)


def read_image_size(value: object, found: ProblemCollector) -> tuple[float, float] | None:
    """``image_size``: width and height."""
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        found.add("image_size", "bad_image_size", "image_size must be [width, height]")
        return None
    sizes = [number(size) for size in value]
    for i, size in enumerate(sizes):
        if size is None or not 0 < size <= 1e6:
            found.add(
                f"image_size[{i}]", "bad_image_size", f"{preview(value[i])} is not a number from above 0 to 1000000"
            )
    width, height = sizes
    return None if width is None or height is None else (width, height)


def read_text(value: object, name: str, found: ProblemCollector) -> str | None:
    """An id, label or group: 1 to 128 characters that every store and log can hold."""
    if value is None:
        return None
    if not isinstance(value, str):
        found.add(name, "not_a_string", f"{name} is {preview(value)}, not text")
    elif not 1 <= len(value) <= MAX_TEXT:
        found.add(name, "bad_length", f"{name} has {len(value)} characters; 1 to {MAX_TEXT} are allowed")
    elif any("\ud800" <= char <= "\udfff" or char == "\0" for char in value):
        found.add(name, "bad_character", f"{name} holds a lone surrogate or NUL, which is no Unicode text")
    else:
        return value
    return None


def read_segments(value: object, seconds: float | None, found: ProblemCollector) -> tuple[Segment, ...]:
    """``segments``; ``seconds`` is the clip's length, None where it is not known."""
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= MAX_SEGMENTS:
        found.add("segments", "bad_segments", f"segments must be a list of 1 to {MAX_SEGMENTS} {{label, start, end}}")
        return ()
    segments = []
    for i, row in enumerate(value):
        loc = f"segments[{i}]"
        if not isinstance(row, Mapping):
            found.add(loc, "not_an_object", f"a segment is an object with label, start and end, not {preview(row)}")
            continue
        if "label" not in row:
            found.add(f"{loc}.label", "missing_label", "a segment needs a label, or null for background")
        label = read_text(row.get("label"), f"{loc}.label", found)
        start, end = number(row.get("start")), number(row.get("end"))
        for name, read in (("start", start), ("end", end)):
            if read is None:
                found.add(f"{loc}.{name}", "not_a_number", f"{preview(row.get(name))} is not a number of seconds")
        if start is None or end is None:
            continue
        if not 0 <= start < end:
            found.add(loc, "bad_interval", f"{start:g} to {end:g} s; start must be at least 0 and before end")
        elif seconds is not None and end > seconds * 1.001 + 0.05:  # cutters round to a frame
            message = f"{end:g} s is after the clip's end at {seconds:g} s{frames_hint(start, end)}"
            found.add(f"{loc}.end", "beyond_end", message)
        segments.append(Segment(label, start, end))
    return tuple(segments)
