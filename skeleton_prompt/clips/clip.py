"""A clip: what a client sends, checked whole, as arrays in one convention.

``parse_clip`` takes every form of the API (nested lists, base64 float32, msgpack bytes), reports all problems at once
and gives a :class:`Clip`; ``clip_document`` goes back; ``encode_clip`` and ``decode_clip`` are the stored form.

Letters: P people, T frames, J joints, D dimensions.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skeleton_prompt.clips.keypoints import Array, read_keypoints
from skeleton_prompt.clips.layouts import (
    BadLayout,
    Layout,
    UnknownLayout,
    custom_layout,
    get_layout,
    resolve_layout,
    unknown_layout_message,
)
from skeleton_prompt.clips.validation import ClipLimits, ClipTooLarge, InvalidClip, Problem, ProblemCollector, preview

__all__ = [
    "Clip", "ClipLimits", "ClipTooLarge", "InvalidClip", "Problem", "Segment", "clip_document", "cut_segments",
    "decode_clip", "encode_clip", "parse_clip",
]  # fmt: skip

MAX_TEXT = 128
MIN_FPS, MAX_FPS = 0.1, 1000.0
MAX_SEGMENTS = 1000
_STORED_BYTES = 256 << 20  # 2,048 frames of 16 people with 256 joints, with room to spare
_FORMAT = 1


@dataclass(frozen=True)
class Segment:
    """A labelled part of a long recording, in seconds; a label of None is background."""

    label: str | None
    start: float
    end: float


@dataclass(frozen=True, eq=False)
class Clip:
    """A checked clip.

    Attributes:
        positions: (P, T, J, D) float32, D 2 or 3; NaN where not seen. 2-D has y down; 3-D is right-handed, y up.
        confidence: (P, T, J) float32 from 0 to 1; 0 where not seen.
        layout: what the J joints are.
        fps: frames per second.
        id: the client's own name for it.
        label: what it shows, None if not said.
        group: subject or recording; one group never straddles a validation split.
        image_size: width and height.
        background: the label was sent as null: what must not be recognised.
        segments: labelled parts, instead of a label.
    """

    positions: Array
    confidence: Array
    layout: Layout
    fps: float = 30.0
    id: str | None = None
    label: str | None = None
    group: str | None = None
    image_size: tuple[float, float] | None = None
    background: bool = False
    segments: tuple[Segment, ...] = ()

    @property
    def people(self) -> int:
        """P, the number of people."""
        return int(self.positions.shape[0])

    @property
    def frames(self) -> int:
        """T, the number of frames."""
        return int(self.positions.shape[1])

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.frames / self.fps


_LIMITS = ClipLimits()


def parse_clip(
    document: Mapping[str, Any], limits: ClipLimits = _LIMITS, *, prefix: str = "", teaching: bool = False
) -> Clip:
    """Check a decoded document and turn it into a clip; unknown fields are ignored.

    Args:
        document: the clip as in the API, already decoded from JSON or msgpack.
        limits: sizes allowed.
        prefix: place of the clip in a larger document, such as ``clips[3]``; put before every ``loc``.
        teaching: a label (or null for background) or segments are required.

    Raises:
        ClipTooLarge: too many frames, people or joints.
        InvalidClip: anything else; holds the first 100 problems.
    """
    found = ProblemCollector(prefix)
    if not isinstance(document, Mapping):
        found.add("", "not_an_object", f"a clip must be an object, not {type(document).__name__}")
        raise InvalidClip(tuple(found.problems), found.total)
    layout = _read_layout(document, limits, found)
    fps = _read_fps(document.get("fps"), found)
    image_size = _read_image_size(document.get("image_size"), found)
    texts = {name: _read_text(document.get(name), name, found) for name in ("id", "label", "group")}
    read = read_keypoints(document, len(layout.joints) if layout else None, limits, found)
    y_axis = document.get("y_axis")
    if not (y_axis is None or (isinstance(y_axis, str) and y_axis in ("up", "down"))):
        found.add("y_axis", "unknown_y_axis", f'y_axis is {preview(y_axis)}; it must be "up" or "down"')
    seconds = read[0].shape[0] / fps if read and fps else None
    segments = _read_segments(document.get("segments"), seconds, found)
    if segments and texts["label"] is not None:
        found.add("segments", "label_and_segments", "a clip has a label or segments, not both")
    if teaching and not segments and "label" not in document:
        found.add("label", "missing_label", 'a clip to learn from needs a label, null for background, or "segments"')
    found.stop_if_any()
    if read is None or layout is None:  # unreachable: whatever made them None was noted
        raise InvalidClip((Problem(prefix, "invalid", "invalid clip"),))
    positions, confidence = _arrange(*read, y_axis)
    background = "label" in document and document["label"] is None and not segments
    return Clip(positions, confidence, layout, fps, texts["id"], texts["label"], texts["group"], image_size,
                background, segments)  # fmt: skip


def _arrange(values: Array, coords: str, y_axis: str | None) -> tuple[Array, Array]:
    """(T, P, J, C) as sent -> positions (P, T, J, D) in the house convention and confidence (P, T, J)."""
    values = values.transpose(1, 0, 2, 3)
    D = 3 if "z" in coords else 2
    positions = values[..., :D].copy()
    # Channel by channel: numpy is several times slower along an axis of two to four.
    seen = np.isfinite(values[..., 0])
    away = positions[..., 0] != 0
    for channel in range(1, values.shape[-1]):
        seen &= np.isfinite(values[..., channel])
    for axis in range(1, D):
        away |= positions[..., axis] != 0
    seen &= away  # exactly 0 everywhere counts as not seen
    confidence: Array
    if coords.endswith("c"):
        seen &= values[..., -1] > 0  # NaN compares false
        confidence = np.where(seen, values[..., -1], np.float32(0))
    else:
        confidence = seen.astype(np.float32)
    if D == 2 and y_axis == "up":
        positions[..., 1] *= -1
    if D == 3 and y_axis == "down":  # x right, y down, z away: negating y alone would mirror the person
        positions[..., 1:] *= -1
    positions[~seen] = np.nan
    return positions, confidence


def _read_layout(document: Mapping[str, Any], limits: ClipLimits, found: ProblemCollector) -> Layout | None:
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


def _number(value: object) -> float | None:
    """A finite JSON number as float, None for anything else (also true, "1.5" and whole numbers beyond float)."""
    if type(value) not in (int, float):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _read_fps(value: object, found: ProblemCollector) -> float:
    if value is None:
        return 30.0
    fps = _number(value)
    if fps is None:
        found.add("fps", "not_a_number", f"fps is {preview(value)}; it must be a finite number")
    elif not MIN_FPS <= fps <= MAX_FPS:
        found.add("fps", "fps_out_of_range", f"fps is {fps:g}; from {MIN_FPS:g} to {MAX_FPS:g} frames per second")
    else:
        return fps
    return 0.0


def _read_image_size(value: object, found: ProblemCollector) -> tuple[float, float] | None:
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        found.add("image_size", "bad_image_size", "image_size must be [width, height]")
        return None
    sizes = [_number(size) for size in value]
    for i, size in enumerate(sizes):
        if size is None or not 0 < size <= 1e6:
            found.add(
                f"image_size[{i}]", "bad_image_size", f"{preview(value[i])} is not a number from above 0 to 1000000"
            )
    width, height = sizes
    return None if width is None or height is None else (width, height)


def _read_text(value: object, name: str, found: ProblemCollector) -> str | None:
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


def _read_segments(value: object, seconds: float | None, found: ProblemCollector) -> tuple[Segment, ...]:
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
        label = _read_text(row.get("label"), f"{loc}.label", found)
        start, end = _number(row.get("start")), _number(row.get("end"))
        for name, number in (("start", start), ("end", end)):
            if number is None:
                found.add(f"{loc}.{name}", "not_a_number", f"{preview(row.get(name))} is not a number of seconds")
        if start is None or end is None:
            continue
        if not 0 <= start < end:
            found.add(loc, "bad_interval", f"{start:g} to {end:g} s; start must be at least 0 and before end")
        elif seconds is not None and end > seconds * 1.001 + 0.05:  # cutters round to a frame
            found.add(f"{loc}.end", "beyond_end", f"{end:g} s is after the clip's end at {seconds:g} s")
        segments.append(Segment(label, start, end))
    return tuple(segments)


def cut_segments(clip: Clip) -> list[Clip]:
    """One labelled clip for each segment of a long recording; a clip without segments is given back as it is.

    The parts keep the recording's group, or get its id as their group, so that they never straddle a split.
    Segments shorter than two frames are widened to two.
    """
    if not clip.segments:
        return [clip]
    parts = []
    for number, segment in enumerate(clip.segments):
        first = min(max(0, round(segment.start * clip.fps)), clip.frames - 2)
        last = max(first + 2, min(clip.frames, round(segment.end * clip.fps)))
        part = replace(
            clip,
            positions=clip.positions[:, first:last],
            confidence=clip.confidence[:, first:last],
            id=f"{clip.id}#{number}"[-MAX_TEXT:] if clip.id else None,
            label=segment.label,
            group=clip.group or clip.id,
            background=segment.label is None,
            segments=(),
        )
        parts.append(part)
    return parts


def clip_document(clip: Clip) -> dict[str, Any]:
    """The clip as an API document; parsing it again gives the same clip.

    ``keypoints`` are nested lists, (T, J, C), with a people axis only for several people; null where not seen.
    """
    values = np.concatenate([clip.positions, clip.confidence[..., None]], -1).transpose(1, 0, 2, 3)
    seen = (clip.confidence > 0).transpose(1, 0, 2).tolist()
    nested = [
        [[j if s else None for j, s in zip(js, ss, strict=True)] for js, ss in zip(ps, pss, strict=True)]
        for ps, pss in zip(values.tolist(), seen, strict=True)
    ]
    flat = clip.positions.shape[-1] == 2
    document: dict[str, Any] = {
        "layout": clip.layout.to_dict(),
        "fps": clip.fps,
        "coords": "xyc" if flat else "xyzc",
        "y_axis": "down" if flat else "up",
        "keypoints": nested if clip.people > 1 else [frame[0] for frame in nested],
    }
    for name in ("id", "label", "group"):
        if getattr(clip, name) is not None:
            document[name] = getattr(clip, name)
    if clip.background:
        document["label"] = None
    if clip.image_size:
        document["image_size"] = list(clip.image_size)
    if clip.segments:
        document["segments"] = [{"label": s.label, "start": s.start, "end": s.end} for s in clip.segments]
    return document


def encode_clip(clip: Clip) -> bytes:
    """The clip as stored: an npz of two arrays and a JSON header, without pickle; the same clip, the same bytes."""
    header = {
        "format": _FORMAT, "layout": clip.layout.name, "joints": clip.layout.joints, "fps": clip.fps, "id": clip.id,
        "label": clip.label, "group": clip.group, "image_size": clip.image_size, "background": clip.background,
        "segments": [[s.label, s.start, s.end] for s in clip.segments],
    }  # fmt: skip
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        positions=clip.positions,
        confidence=clip.confidence,
        header=np.frombuffer(json.dumps(header).encode(), np.uint8),
    )
    return buffer.getvalue()


def decode_clip(data: bytes) -> Clip:
    """Read what :func:`encode_clip` wrote.

    Raises:
        InvalidClip: not such a file, damaged, or larger than any clip can be; nothing is ever unpickled.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _STORED_BYTES:
                raise ValueError("larger than any clip")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            positions, confidence, raw = arrays["positions"], arrays["confidence"], arrays["header"]
        header = json.loads(raw.tobytes())
        if header["format"] != _FORMAT:
            raise ValueError(f"format {header['format']} is not {_FORMAT}")
        if positions.dtype != np.float32 or confidence.dtype != np.float32 or positions.shape[:-1] != confidence.shape:
            raise ValueError("arrays of the wrong kind")
        return Clip(
            positions, confidence, _stored_layout(header["layout"], tuple(header["joints"])), float(header["fps"]),
            header["id"], header["label"], header["group"],
            tuple(header["image_size"]) if header["image_size"] else None, bool(header["background"]),
            tuple(Segment(*row) for row in header["segments"]),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        raise InvalidClip((Problem("", "damaged", f"not a stored clip: {error}"),)) from error


def _stored_layout(name: str, joints: tuple[str, ...]) -> Layout:
    """The built-in layout if it still is what it was when the clip was stored, else one from the stored names."""
    try:
        layout = get_layout(name)
    except UnknownLayout:
        return custom_layout(joints)
    return layout if layout.joints == joints else custom_layout(joints)
