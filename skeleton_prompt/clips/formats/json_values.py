"""Reading numbers, names and frames out of parsed JSON, tolerant of what tools leave out."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skeleton_prompt.clips.formats.errors import FormatError
from skeleton_prompt.clips.formats.series import MAX_DIGITS, frame_series

Array = NDArray[np.float64]

SAMPLE = 50  # elements that a detection looks at
MAX_LEVELS = 2  # objects that frames may be wrapped in; bounds the work on hostile documents
_FRAME_KEYS = (
    "frame_id", "frame_index", "frame_number", "frame_num", "frame_idx", "frame", "frameNumber", "frameIndex",
    "frameId", "image_id", "id", "index",
)  # fmt: skip
_SECOND_KEYS = {
    "timestamp_usec": 1e-6, "timestamp_us": 1e-6, "timestamp_ms": 1e-3, "timestampMs": 1e-3, "time_ms": 1e-3,
    "timestamp_s": 1.0, "seconds": 1.0, "time_s": 1.0, "timestamp": 1.0, "time": 1.0,
}  # fmt: skip
_FRAME_LISTS = ("frames", "data", "results", "poses", "predictions", "detections", "annotations", "landmarks")
_FPS_KEYS = ("fps", "FPS", "frame_rate", "frameRate", "framerate", "video_fps")
_LAST_NUMBER = re.compile(r"(\d+)(?!.*\d)")


def number(value: object) -> float:
    """A JSON value as a number: null, "NaN" and None are NaN.

    Raises:
        ValueError: anything else that is no number.
    """
    if value is None:
        return math.nan
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, (int, float)):
        try:
            return float(value)
        except OverflowError:
            raise ValueError(f"{str(value)[:20]}... is no coordinate") from None
    if isinstance(value, str):
        return float(value)
    raise ValueError(f"{type(value).__name__} where a number is expected")


def joint_rows(values: Any, width: int, place: str) -> Array:
    """(J, width) from a flat list of J x width numbers or from nested lists; null joints and numbers are NaN.

    Raises:
        FormatError: not numbers, or a length that is no multiple of the width.
    """
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise FormatError(place, f"keypoints are {type(values).__name__}, not a list")
    try:
        if any(isinstance(value, Sequence) and not isinstance(value, str) for value in values):
            rows = [_row(row, width) for row in values]
            found = {len(row) for row in rows}
            if found != {width}:
                raise FormatError(place, f"joints have {sorted(found)} numbers where {width} are expected")
            return np.array(rows, dtype=np.float64)
        flat = [number(value) for value in values]
    except ValueError as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(place, f"keypoints: {error}") from None
    if len(flat) % width:
        raise FormatError(place, f"{len(flat)} numbers of keypoints are no multiple of {width}")
    return np.array(flat, dtype=np.float64).reshape(-1, width)


def _row(row: Any, width: int) -> list[float]:
    if row is None:
        return [math.nan] * width
    if not isinstance(row, Sequence) or isinstance(row, str):
        raise ValueError(f"{type(row).__name__} among lists of numbers")
    return [number(value) for value in row]


def row_width(values: Any) -> int | None:
    """Numbers of each joint of nested lists; None if the list is flat or empty."""
    for value in values if isinstance(values, Sequence) and not isinstance(values, str) else ():
        if isinstance(value, Sequence) and not isinstance(value, str):
            return len(value)
        if value is not None:
            return None
    return None


def text(value: object) -> str | None:
    """A non-empty string or number as text, else None."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, str)):
        return str(value).strip() or None
    return None


def whole(value: object) -> int | None:
    """A whole number, also as ``3.0`` or ``"3"``, else None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if abs(value) < 10**MAX_DIGITS else None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"\s*\d{1,18}\s*", value):
        return int(value)
    return None


def frame_number(item: Mapping[str, Any]) -> int | None:
    """The frame number of an object: a whole number under a usual key, or the last number of an image name."""
    for key in _FRAME_KEYS:
        found = whole(item.get(key))
        if found is not None:
            return found
    return None


def frame_seconds(item: Mapping[str, Any]) -> float | None:
    """The time of a frame in seconds, where a key says its unit."""
    for key, scale in _SECOND_KEYS.items():
        value = item.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value) * scale
    return None


def stated_fps(value: Any) -> float | None:
    """Frames per second where an object, or its ``info``, ``meta`` or ``video`` object, states them."""
    if not isinstance(value, Mapping):
        return None
    for part in (value, *(value.get(key) for key in ("info", "meta", "meta_info", "metadata", "video", "video_info"))):
        if isinstance(part, Mapping):
            for key in _FPS_KEYS:
                found = part.get(key)
                if isinstance(found, (int, float)) and not isinstance(found, bool) and 0 < found < 10_000:
                    return float(found)
    return None


def stated_size(value: Any) -> tuple[float, float] | None:
    """Width and height where an object, or its ``info``, ``meta`` or ``image`` object, states them."""
    if not isinstance(value, Mapping):
        return None
    keys = (("width", "height"), ("image_width", "image_height"), ("imageWidth", "imageHeight"),
            ("video_width", "video_height"), ("img_width", "img_height"))  # fmt: skip
    for part in (value, *(value.get(key) for key in ("info", "meta", "metadata", "video", "image", "video_info"))):
        if isinstance(part, Mapping):
            for wide, high in keys:
                width, height = part.get(wide), part.get(high)
                if all(isinstance(n, (int, float)) and not isinstance(n, bool) and n > 0 for n in (width, height)):
                    return float(width), float(height)  # type: ignore[arg-type]
            size = part.get("image_size")
            if isinstance(size, list) and len(size) == 2 and all(type(n) in (int, float) and n > 0 for n in size):
                return float(size[0]), float(size[1])
    return None


def frame_items(
    value: Any, is_frame: Callable[[Any], bool], levels: int = MAX_LEVELS
) -> list[tuple[int | None, Any]] | None:
    """Frames of a document with their numbers: one frame, a list, an object by name, or a list under a usual key.

    Returns:
        None if the document holds no frames of this kind.
    """
    if is_frame(value):
        return [(frame_number(value) if isinstance(value, Mapping) else None, value)]
    if isinstance(value, list):
        sample = [item for item in value[:SAMPLE] if item not in (None, [], {})]
        if sample and all(map(is_frame, sample)):
            return [(frame_number(item) if isinstance(item, Mapping) else None, item) for item in value]
        return None
    if not isinstance(value, Mapping) or not value or not levels:
        return None
    for key in _FRAME_LISTS:
        inside = value.get(key)
        if isinstance(inside, (list, dict)) and inside:
            found = frame_items(inside, is_frame, levels - 1)
            if found:
                return found
    names = list(value)
    sample = [value[name] for name in names[:SAMPLE] if value[name] not in (None, [], {})]
    if (
        sample
        and len(sample) == len([n for n in names[:SAMPLE] if value[n] not in (None, [], {})])
        and all(map(is_frame, sample))
    ):
        series = frame_series(names)
        if len(series) == 1:
            return [(frame, value[names[index]]) for frame, index in series[0].members]
    return None


def objects(values: Any) -> Iterator[Mapping[str, Any]]:
    """The objects of a list, others left out."""
    for value in values if isinstance(values, list) else ():
        if isinstance(value, Mapping):
            yield value


def is_number(value: object) -> bool:
    """Whether a JSON value is a number or null."""
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def numbers_only(values: Any) -> bool:
    """Whether a non-empty list starts with numbers or nulls only."""
    return isinstance(values, list) and bool(values) and all(map(is_number, values[:SAMPLE]))
