"""A clip: what a client sends, checked whole, as arrays in one convention.

``parse_clip`` takes every form of the API (nested lists, base64 float32, msgpack bytes), reports all problems at once
and gives a :class:`Clip`; ``clip_document`` goes back; ``encode_clip`` and ``decode_clip`` are the stored form.

Letters: P people, T frames, J joints, D dimensions.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skeleton_prompt.clips.clip_fields import (
    MAX_TEXT,
    Segment,
    read_image_size,
    read_layout,
    read_segments,
    read_text,
)
from skeleton_prompt.clips.conventions import (
    Conventions,
    check_dimension,
    mirrored_joints,
    read_conventions,
    to_one_convention,
)
from skeleton_prompt.clips.findings import Finding
from skeleton_prompt.clips.identity import jump_warning, order_by_track, order_people, read_track_ids
from skeleton_prompt.clips.keypoints import Array, Keypoints, read_keypoints
from skeleton_prompt.clips.layouts import Layout, UnknownLayout, custom_layout, get_layout
from skeleton_prompt.clips.timing import apply_timestamps, read_fps, read_timestamps, usual_rate
from skeleton_prompt.clips.unseen import Boxes, Mask, hide_strays
from skeleton_prompt.clips.validation import ClipLimits, ClipTooLarge, InvalidClip, Problem, ProblemCollector

__all__ = [
    "Clip", "ClipLimits", "ClipTooLarge", "InvalidClip", "Problem", "Segment", "clip_document", "cut_segments",
    "decode_clip", "encode_clip", "parse_clip",
]  # fmt: skip

_STORED_BYTES = 256 << 20  # 2,048 frames of 16 people with 256 joints, with room to spare
_FORMAT = 1


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
        units: what the clip says its coordinates are: px, fraction, m, mm, cm or normalized; None if it does not say.
        notes: what was assumed or mended while parsing; not stored.
        warnings: what looked wrong while parsing; not stored.
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
    units: str | None = None
    notes: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()

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
    notes: list[Finding] = []
    layout = read_layout(document, limits, found)
    fps = read_fps(document, found, notes)
    image_size = read_image_size(document.get("image_size"), found)
    texts = {name: read_text(document.get(name), name, found) for name in ("id", "label", "group")}
    read = read_keypoints(document, layout, limits, found)
    stated = read_conventions(document, found)
    times, tracks = None, None
    if read is not None:
        check_dimension(stated, 3 if "z" in read.coords else 2, found)
        times = read_timestamps(document, len(read.values), found)
        tracks = read_track_ids(document.get("track_ids"), len(read.values), read.counts, found)
    seconds = None if read is None else len(read.values) / fps if fps else None
    if times is not None:
        seconds = float(times[-1] - times[0]) * len(times) / (len(times) - 1)
    segments = read_segments(document.get("segments"), seconds, found)
    if segments and texts["label"] is not None:
        found.add("segments", "label_and_segments", "a clip has a label or segments, not both")
    if teaching and not segments and "label" not in document:
        found.add("label", "missing_label", 'a clip to learn from needs a label, null for background, or "segments"')
    found.stop_if_any()
    if read is None or layout is None:  # unreachable: whatever made them None was noted
        raise InvalidClip((Problem(prefix, "invalid", "invalid clip"),))
    notes += read.notes
    warnings: list[Finding] = []
    values = _identify(read, tracks, limits, found, notes, warnings)
    found.stop_if_any()
    positions, confidence = _arrange(values, read.coords, stated, layout, notes)
    boxes = Boxes.of(positions)
    positions, confidence, strays = hide_strays(
        positions, confidence, fps if times is None else usual_rate(times), boxes
    )
    notes += strays
    jumps = jump_warning(Boxes.of(positions) if strays else boxes)
    warnings += [jumps] if jumps else []
    if times is not None:
        sent = None if document.get("fps") is None else fps
        positions, confidence, fps = apply_timestamps(positions, confidence, times, sent, limits.max_frames, notes)
    background = "label" in document and document["label"] is None and not segments
    return Clip(positions, confidence, layout, fps, texts["id"], texts["label"], texts["group"], image_size,
                background, segments, stated.units, tuple(notes), tuple(warnings))  # fmt: skip


def _identify(
    read: Keypoints,
    tracks: list[list[Any]] | None,
    limits: ClipLimits,
    found: ProblemCollector,
    notes: list[Finding],
    warnings: list[Finding],
) -> Array:
    """(T, P, J, C) with every person at one place of the people axis throughout."""
    if tracks is not None:
        values, warning = order_by_track(read.values, tracks, limits.max_people, found)
        warnings += [warning] if warning else []
        return values
    values, note = order_people(read.values, 3 if "z" in read.coords else 2)
    notes += [note] if note else []
    return values


def _arrange(
    values: Array, coords: str, stated: Conventions, layout: Layout, notes: list[Finding]
) -> tuple[Array, Array]:
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
    trust = values[..., -1] if coords.endswith("c") else None
    if trust is not None:
        seen &= trust > 0  # NaN compares false
    zeros = seen & ~away  # exactly 0 everywhere counts as not seen
    if zeros.any():
        notes += _zeros_note(zeros, layout)
        seen &= away
    confidence: Array = seen.astype(np.float32) if trust is None else np.where(seen, trust, np.float32(0))
    positions[~seen] = np.nan
    return _turned(positions, confidence, stated, layout)


def _turned(positions: Array, confidence: Array, stated: Conventions, layout: Layout) -> tuple[Array, Array]:
    if stated.mirrored:
        confidence = confidence[:, :, list(mirrored_joints(layout))]
    return to_one_convention(positions, stated, layout), confidence


def _zeros_note(zeros: Mask, layout: Layout) -> list[Finding]:
    """A note unless all zeros are of the root, which lies at the origin of a centred clip."""
    odd = zeros & np.array([role != "root" for role in layout.roles])
    if not odd.any():
        return []
    message = f"{int(odd.sum())} joint positions at exactly 0 in every coordinate were taken as not seen; send null"
    return [Finding("zeros_unseen", message, "keypoints")]


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
    if clip.units:
        document["units"] = clip.units
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
    if clip.units is not None:  # only then, so that clips without it keep the bytes that earlier releases wrote
        header["units"] = clip.units
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
            tuple(Segment(*row) for row in header["segments"]), header.get("units"),
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
