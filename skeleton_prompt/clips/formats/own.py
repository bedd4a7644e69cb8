"""Clip files of this project: JSON, JSON lines and msgpack documents of the API, stored clips, and sets in ``.npz``."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from skeleton_prompt.clips.formats.arrays import npz_arrays
from skeleton_prompt.clips.formats.errors import AmbiguousFile, FormatError
from skeleton_prompt.clips.formats.format import JSON_SUFFIXES, Format
from skeleton_prompt.clips.formats.options import ReadOptions
from skeleton_prompt.clips.formats.recording import CHANNELS, ReadClip
from skeleton_prompt.clips.formats.source import Source

MAX_UNPACKED = 1 << 30


def is_clip(value: Any) -> bool:
    """Whether a document is a clip of the API: keypoints that are no objects, with a layout or of that shape."""
    if not isinstance(value, Mapping) or "keypoints" not in value:
        return False
    keypoints = value["keypoints"]
    if isinstance(keypoints, (bytes, np.ndarray)) or isinstance(value.get("encoding"), str):
        return True
    depth, node = _depth(keypoints)
    return not isinstance(node, Mapping) and (depth in (3, 4) or "layout" in value)


def _depth(node: Any) -> tuple[int, Any]:
    """How many lists the first value lies in, and that value."""
    depth = 0
    while isinstance(node, list):
        node = next((child for child in node if child not in (None, [])), None)
        depth += 1
    return depth, node


def documents_of(value: Any) -> list[Mapping[str, Any]] | None:
    """Clips of a document: one, a list of them, or ``{"clips": [...]}``; None if it holds none."""
    if isinstance(value, Mapping) and isinstance(value.get("clips"), list):
        value = value["clips"]
    rows = value if isinstance(value, list) else [value]
    if isinstance(value, list) and any(
        isinstance(row, Mapping) and isinstance(row.get("clips"), list) for row in value
    ):
        rows = [clip for row in value if isinstance(row, Mapping) for clip in row.get("clips", [row])]  # JSON lines
    return rows if rows and any(map(is_clip, rows[:8])) else None


def detect_json(source: Source) -> float:
    """How surely a file holds clips of the API."""
    return 0.97 if source.suffix in JSON_SUFFIXES and documents_of(source.json) else 0.0


def read_json(source: Source, options: ReadOptions) -> list[ReadClip]:
    """The clips of a JSON file or JSON lines."""
    return list(_clips(source, documents_of(source.json) or [], options))


def _clips(source: Source, rows: Sequence[Any], options: ReadOptions) -> Iterator[ReadClip]:
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping) or "keypoints" not in row:
            raise FormatError(source.path, f"entry {index}: a clip is an object with keypoints")
        yield ReadClip(stated(dict(row), options))


def stated(document: dict[str, Any], options: ReadOptions) -> dict[str, Any]:
    """The document with what the caller states."""
    if options.layout is not None:
        document["layout"] = options.layout if isinstance(options.layout, str) else {"joints": list(options.layout)}
    if options.coords is not None:
        document["coords"] = options.coords
    if options.fps is not None:
        document["fps"] = options.fps
    if options.image_size is not None:
        document["image_size"] = list(options.image_size)
    return document


def detect_msgpack(source: Source) -> float:
    """How surely a file is msgpack."""
    return 0.9 if source.suffix == ".msgpack" else 0.0


def read_msgpack(source: Source, options: ReadOptions) -> list[ReadClip]:
    """The clips of a msgpack file."""
    import msgpack

    try:
        value = msgpack.unpackb(source.data)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise FormatError(source.path, f"not valid msgpack: {error}") from None
    rows = documents_of(value)
    if rows is None:
        raise FormatError(source.path, "a clip is an object with keypoints")
    return list(_clips(source, rows, options))


def detect_npz(source: Source) -> float:
    """How surely an ``.npz`` is a stored clip or a set of clips of this project."""
    if source.suffix != ".npz" or not source.head.startswith(b"PK"):
        return 0.0
    names = npz_arrays(source).keys()
    return 0.95 if {"positions", "confidence", "header"} <= names or {"keypoints", "offsets"} <= names else 0.0


def read_npz(source: Source, options: ReadOptions) -> list[ReadClip]:
    """A stored clip, or the clips of a set."""
    arrays = npz_arrays(source)
    if "offsets" in arrays:
        return [ReadClip(document) for document in _set(source, arrays, options)]
    from skeleton_prompt.clips.clip import InvalidClip, clip_document, decode_clip

    try:
        return [ReadClip(stated(clip_document(decode_clip(source.data)), options))]
    except InvalidClip as error:
        raise FormatError(source.path, str(error)) from None


def _set(source: Source, arrays: Mapping[str, Any], options: ReadOptions) -> Iterator[dict[str, Any]]:
    """A set of clips: keypoints of all frames, offsets, joint_names or layout, labels, label_names, subjects, fps."""
    keypoints, offsets = arrays["keypoints"], arrays["offsets"]
    if keypoints.dtype.kind not in "fiu" or keypoints.ndim not in (3, 4) or offsets.dtype.kind not in "iu":
        raise FormatError(source.path, f"keypoints {keypoints.shape} of {keypoints.dtype} are not frames of joints")
    coords = options.coords or (str(arrays["coords"]) if "coords" in arrays else None)
    if coords is None and keypoints.shape[-1] == CHANNELS["xyz"]:
        raise AmbiguousFile(
            source.path,
            "three numbers for each joint and no array coords: give --coords xyz (depth) or --coords xyc (confidence)",
        )
    if "layout" in arrays:
        layout: Any = str(arrays["layout"])
    elif "joint_names" in arrays:
        layout = {"joints": [str(name) for name in arrays["joint_names"]]}
    elif options.layout is None:
        raise AmbiguousFile(
            source.path, "keypoints and offsets, but neither layout nor joint_names: give --layout NAME"
        )
    else:
        layout = options.layout
    fps = float(np.ravel(arrays["fps"])[0]) if "fps" in arrays else 30.0
    for index, (start, end) in enumerate(itertools.pairwise(offsets.tolist())):
        document: dict[str, Any] = {
            "id": f"clip-{index}", "layout": layout, "fps": fps, "keypoints": keypoints[start:end].astype(np.float32),
        }  # fmt: skip
        if coords is not None:
            document["coords"] = coords
        if "labels" in arrays:
            document["label"] = str(arrays["label_names"][arrays["labels"][index]])
        if "subjects" in arrays:
            document["group"] = str(arrays["subjects"][index])
        yield stated(document, options)


JSON = Format(
    "clip",
    "clips of this project",
    JSON_SUFFIXES,
    '`.json`, `.ndjson`, `.jsonl`: documents of the API, a list of them, or `{"clips": [...]}`',
    "`layout` in the file",
    "`fps` in the file, else 30",
    detect_json,
    read_json,
)
MSGPACK = Format(
    "msgpack", "clips of this project", (".msgpack",), "`.msgpack`: the same documents", "`layout` in the file",
    "`fps` in the file, else 30", detect_msgpack, read_msgpack,
)  # fmt: skip
NPZ = Format(
    "clip-npz",
    "clips of this project",
    (".npz",),
    "`.npz`: a stored clip, or a set with `keypoints`, `offsets` and `joint_names`",
    "`layout` or `joint_names` in the file",
    "`fps` in the file, else 30",
    detect_npz,
    read_npz,
)
