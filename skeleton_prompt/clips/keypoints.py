"""The ``keypoints`` of a clip, in any form the API takes, as one array.

Well-formed nested lists go through a handful of C loops and one numpy conversion. Anything else is walked in Python,
only to say what is wrong and where. numpy itself is never trusted with the raw lists: it takes ``"1.5"`` and ``true``
for numbers and rags for objects.

Letters: T frames, P people, J joints, C channels.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from skeleton_prompt.clips import confidence, shapes
from skeleton_prompt.clips.findings import Finding
from skeleton_prompt.clips.keypoint_problems import CHANNELS, DEFAULT_COORDS, walk
from skeleton_prompt.clips.layouts import Layout
from skeleton_prompt.clips.unseen import hide_placeholders
from skeleton_prompt.clips.validation import MAX_PROBLEMS, MAX_VALUE, ClipLimits, ProblemCollector, preview

Array = npt.NDArray[np.float32]
ESTIMATORS_FIELDS = ("people", "annotations", "instance_info", "predictions", "data", "bodyList", "landmarks")
_DEEPEST = 4  # T, P, J, C


@dataclass
class Keypoints:
    """Keypoints as read.

    Attributes:
        values: (T, P, J, C) float32 with NaN where a joint was not sent; confidence from 0 to 1; x before y.
        coords: What the channels are, a key of ``CHANNELS`` that begins with ``xy``.
        counts: How many people each frame had as sent.
        notes: What was assumed or mended.
    """

    values: Array
    coords: str
    counts: list[int]
    notes: list[Finding] = field(default_factory=list)


def read_keypoints(
    document: Mapping[str, Any], layout: Layout | None, limits: ClipLimits, found: ProblemCollector
) -> Keypoints | None:
    """Read ``keypoints``, noting every problem.

    Args:
        document: the clip as sent.
        layout: its layout, None if that itself is wrong.
        limits: sizes allowed.
        found: takes the problems.

    Returns:
        The keypoints, None if a problem was found.

    Raises:
        ClipTooLarge: too many frames, people or joints.
    """
    before = found.total
    coords = document.get("coords")
    if coords is not None and not (isinstance(coords, str) and coords in CHANNELS):
        found.add("coords", "unknown_coords", f"coords is {preview(coords)}; it must be one of {', '.join(CHANNELS)}")
        coords = None
    scale = document.get("confidence_scale")
    if scale is not None and not (isinstance(scale, str) and scale in confidence.SCALES):
        shown = ", ".join(confidence.SCALES)
        found.add("confidence_scale", "unknown_confidence_scale", f"{preview(scale)}; it must be one of {shown}")
        scale = None
    encoding = document.get("encoding")
    keypoints = document.get("keypoints")
    if encoding not in (None, "f32", "json"):
        found.add("encoding", "unknown_encoding", f'encoding is {preview(encoding)}; it must be "f32" or absent')
        return None
    if keypoints is None:
        found.add(
            "keypoints", "missing_keypoints", "a clip needs keypoints: a list of frames" + _other_format(document)
        )
        return None
    joints = len(layout.joints) if layout else None
    notes: list[Finding] = []
    counts: list[int] | None = None
    values: npt.NDArray[np.floating[Any]] | None
    if isinstance(keypoints, (bytes, bytearray, memoryview)) or encoding == "f32":
        values = _from_bytes(keypoints, document.get("shape"), _axes(joints, coords), limits, found)
    elif isinstance(keypoints, np.ndarray):
        values = _from_array(keypoints, _axes(joints, coords), limits, found)
    elif isinstance(keypoints, list):
        counts = [len(frame) if isinstance(frame, list) else 0 for frame in keypoints]
        values, coords = _from_lists(keypoints, layout, coords, limits, found, notes)
    else:
        hint = '; base64 needs "encoding": "f32" and a shape' if isinstance(keypoints, str) else ""
        found.add("keypoints", "not_a_list", f"keypoints is {type(keypoints).__name__}, not a list of frames{hint}")
        return None
    if values is None:
        return None
    axes = _axes(joints, coords)
    order = axes and shapes.choose_order(values, shapes.find_orders(values.shape, axes[0], axes[1], limits), axes[0])
    if order and joints:
        values, note = shapes.to_documented(values, order, joints)
        notes.append(note)
    people = values.ndim == _DEEPEST
    if not people:
        values = values[:, None]
    _check_shape(values.shape, people, joints, coords, limits, found)
    if found.total > before:
        return None
    coords = coords or DEFAULT_COORDS[values.shape[-1]]
    result = _mend_values(values, coords, people, scale, layout.name if layout else "", found, notes)
    if result is None or found.total > before:
        return None
    counts = counts if counts and people and not order else [result.shape[1]] * len(result)
    return Keypoints(result, coords if coords.startswith("xy") else "xy" + coords[2:], counts, notes)


def _other_format(document: Mapping[str, Any]) -> str:
    """A pointer for documents of pose estimators that were posted as they are."""
    other = next((name for name in ESTIMATORS_FIELDS if name in document), None)
    if other is None:
        return ""
    return f"; a document with {other!r} is a pose estimator's own file: `skeleton-prompt convert` makes clips of it"


def _axes(joints: int | None, coords: str | None) -> tuple[int, Sequence[int]] | None:
    """Joints and possible channels, for readings of another order of axes; None if the layout is wrong."""
    if joints is None:
        return None
    return joints, (CHANNELS[coords],) if coords else shapes.CHANNEL_COUNTS


def _mend_values(
    values: npt.NDArray[np.floating[Any]],
    coords: str,
    people: bool,
    scale: str | None,
    layout: str,
    found: ProblemCollector,
    notes: list[Finding],
) -> Array | None:
    """Check the values, hide placeholders and bring confidences to 0 to 1; a float32 copy where anything changes."""
    before = found.total
    _check_values(values, people, found)
    if found.total > before:
        return None
    with np.errstate(over="ignore"):
        read: Array = values.astype(np.float32, copy=False)
    if coords.startswith("yx"):
        read = np.concatenate((read[..., 1::-1], read[..., 2:]), -1)
    hidden, note = hide_placeholders(read, 3 if "z" in coords else 2)
    notes += [note] if note else []
    if coords.endswith("c"):
        trust = hidden[..., -1]
        with np.errstate(invalid="ignore"):
            wrong = bool(((trust < 0) | (trust > 1)).any())
        if wrong or scale not in (None, "unit"):
            hidden = hidden.copy()
            bad = confidence.out_of_scale(hidden[..., -1], scale) if scale not in (None, "unit") else None
            note = confidence.to_unit_scale(hidden, coords, scale, layout)
            notes += [note] if note else []
            bad = confidence.out_of_scale(hidden[..., -1], None) if bad is None else bad
            _check_confidence(hidden, bad, people, confidence.hint(coords, scale, hidden), found)
    return hidden


def _place(index: tuple[int, ...], people: bool) -> str:
    """``keypoints[12][3][0]`` from an index into (T, P, J, C); without people there is no P to name."""
    parts = index if people else index[:1] + index[2:]
    return "keypoints" + "".join(f"[{part}]" for part in parts)


def _check_shape(
    shape: tuple[int, ...],
    people: bool,
    joints: int | None,
    coords: str | None,
    limits: ClipLimits,
    found: ProblemCollector,
) -> None:
    """Frames, people, joints and channels against the limits, the layout and the coords."""
    T, P, J, C = shape
    if limits.max_frames < T:
        raise found.too_large("keypoints", "too_many_frames", f"{T} frames; max_frames is {limits.max_frames}")
    if limits.max_people < P:
        raise found.too_large("keypoints", "too_many_people", f"{P} people; max_people is {limits.max_people}")
    if limits.max_joints < J:
        raise found.too_large("keypoints", "too_many_joints", f"{J} joints; max_joints is {limits.max_joints}")
    if limits.min_frames > T:
        found.add("keypoints", "too_few_frames", f"{T} frames; at least {limits.min_frames} (min_frames) are needed")
    if P < 1:
        found.add("keypoints", "no_people", "the people axis is empty")
    if joints is not None and joints != J:
        where = "keypoints[0][0]" if people else "keypoints[0]"
        found.add(where, "wrong_joint_count", f"{J} joints, but the layout has {joints}")
    if coords is not None and CHANNELS[coords] != C:
        found.add("coords", "wrong_channel_count", f"joints have {C} values, but coords {coords!r} means "
                  f"{CHANNELS[coords]}")  # fmt: skip
    elif C not in DEFAULT_COORDS:
        found.add("keypoints", "wrong_channel_count", f"joints have {C} values; 2 (x, y), 3 or 4 are possible")


def _check_values(values: npt.NDArray[np.floating[Any]], people: bool, found: ProblemCollector) -> None:
    """Infinite or absurd values; NaN means not seen and passes."""
    with np.errstate(invalid="ignore"):
        wild = np.abs(values) > MAX_VALUE
    if not wild.any():
        return
    for place in np.argwhere(wild)[:MAX_PROBLEMS]:
        index = tuple(int(i) for i in place)
        value = float(values[index])
        rule = "not_finite" if math.isinf(value) else "out_of_range"
        message = f"{value:g} is beyond what a coordinate can be (±{MAX_VALUE:g}); a joint not seen is null"
        found.add(_place(index, people), rule, message)
    found.total += max(0, int(wild.sum()) - MAX_PROBLEMS)


def _check_confidence(
    values: Array, bad: npt.NDArray[np.bool_], people: bool, hint: str, found: ProblemCollector
) -> None:
    """Confidences, the last channel, that the scale does not have."""
    if not bad.any():
        return
    for place in np.argwhere(bad)[:MAX_PROBLEMS]:
        index = (*(int(i) for i in place), values.shape[-1] - 1)
        message = f"confidence {float(values[index]):g} is outside 0 to 1{hint}"
        found.add(_place(index, people), "confidence_out_of_range", message)
    found.total += max(0, int(bad.sum()) - MAX_PROBLEMS)


def _from_bytes(
    keypoints: object,
    shape: object,
    axes: tuple[int, Sequence[int]] | None,
    limits: ClipLimits,
    found: ProblemCollector,
) -> Array | None:
    """Little-endian float32 of a stated shape, as base64 text or as bytes; with the axes as sent."""
    sizes = _read_shape(shape, axes, limits, found)
    if sizes is None:
        return None
    need = math.prod(sizes) * 4
    if isinstance(keypoints, str):
        if len(keypoints) > (2 * need + 2) // 3 * 4 + 4:  # decoding would only make a useless copy
            found.add("keypoints", "wrong_byte_count", f"{len(keypoints)} base64 characters; shape needs {need} bytes")
            return None
        try:
            raw: bytes = base64.b64decode(keypoints.encode("ascii"), validate=True)
        except (ValueError, binascii.Error):
            found.add("keypoints", "not_base64", "keypoints is not valid base64 (standard alphabet, padded)")
            return None
    elif isinstance(keypoints, (bytes, bytearray, memoryview)):
        raw = bytes(keypoints)
    else:
        kind = type(keypoints).__name__
        found.add("keypoints", "not_base64", f"keypoints is {kind}; encoding f32 needs base64 text or bytes")
        return None
    if len(raw) != need:
        width = {need // 2: "float16", need * 2: "float64"}.get(len(raw))
        hint = f": are these {width}? Send float32, such as numpy's astype('<f4')" if width else ""
        found.add(
            "keypoints", "wrong_byte_count", f"{len(raw)} bytes; the shape needs {need} (4 for each number){hint}"
        )
        return None
    return np.frombuffer(raw, dtype="<f4").astype(np.float32).reshape(sizes)


def _from_array(
    keypoints: npt.NDArray[Any], axes: tuple[int, Sequence[int]] | None, limits: ClipLimits, found: ProblemCollector
) -> npt.NDArray[np.floating[Any]] | None:
    """A numpy array of (T, J, C) or (T, P, J, C) numbers, or of another shape that can be read."""
    known = keypoints.ndim in (_DEEPEST - 1, _DEEPEST)
    known = known or bool(axes and shapes.find_orders(keypoints.shape, *axes, limits))
    if not known or 0 in keypoints.shape:
        found.add("keypoints", "bad_shape", f"an array of shape {keypoints.shape} is not (T, J, C) or (T, P, J, C)")
        return None
    if keypoints.dtype.kind not in "fiu":
        found.add("keypoints", "not_a_number", f"an array of {keypoints.dtype} holds no numbers")
        return None
    return keypoints if keypoints.dtype in (np.float32, np.float64) else keypoints.astype(np.float64)


def _read_shape(
    shape: object, axes: tuple[int, Sequence[int]] | None, limits: ClipLimits, found: ProblemCollector
) -> tuple[int, ...] | None:
    """``shape`` as sent, (T, J, C), (T, P, J, C) or another order of axes that can be read in one way."""
    if not isinstance(shape, (list, tuple)) or not _DEEPEST - 1 <= len(shape) <= _DEEPEST + 1:
        found.add("shape", "bad_shape", "encoding f32 needs shape: [T, J, C] or [T, P, J, C]")
        return None
    bad = [i for i, size in enumerate(shape) if type(size) is not int or not 1 <= size <= 2**31]
    for i in bad:
        found.add(f"shape[{i}]", "bad_shape", f"{preview(shape[i])} is not a positive whole number")
    if bad:
        return None
    sizes = tuple(int(size) for size in shape)
    if axes and shapes.find_orders(sizes, *axes, limits):
        return sizes
    if len(sizes) not in (_DEEPEST - 1, _DEEPEST):
        found.add("shape", "bad_shape", f"shape {sizes} is not [T, J, C] or [T, P, J, C]")
        return None
    if sizes[-1] not in DEFAULT_COORDS:
        found.add("shape", "wrong_channel_count", f"{sizes[-1]} values for each joint; 2 (x, y), 3 or 4 are possible")
        return None
    T, P, J, C = sizes if len(sizes) == _DEEPEST else (sizes[0], 1, *sizes[1:])
    if limits.max_frames < T or limits.max_people < P or limits.max_joints < J:
        _check_shape((T, P, J, C), len(sizes) == _DEEPEST, None, None, limits, found)
    return sizes


def _from_lists(
    frames: list[Any],
    layout: Layout | None,
    coords: str | None,
    limits: ClipLimits,
    found: ProblemCollector,
    notes: list[Finding],
) -> tuple[npt.NDArray[np.float64] | None, str | None]:
    """Nested lists as an array with the axes as sent, and the coords, which joints sent as objects bring along."""
    if len(frames) > limits.max_frames:
        message = f"{len(frames)} frames; max_frames is {limits.max_frames}"
        raise found.too_large("keypoints", "too_many_frames", message)
    joints = len(layout.joints) if layout else None
    depth = shapes.leaf_depth(frames)
    if depth == 0 and all(frame is None or isinstance(frame, list) for frame in frames):
        channels = CHANNELS[coords] if coords else 2
        return np.full((len(frames), joints or 1, channels), np.nan), coords
    values = _convert(frames, depth) if depth in (2, 3, 4, 5) else None
    if values is None:
        mended = shapes.mend_lists(frames, layout.joints if layout else None, coords, notes)
        if mended is not None:
            frames, coords = mended
            depth = shapes.leaf_depth(frames)
            values = _convert(frames, depth) if depth in (2, 3, 4) else None
    axes = _axes(joints, coords)
    if values is not None and (values.ndim in (3, 4) or (axes and shapes.find_orders(values.shape, *axes, limits))):
        return values, coords
    depth = _usual_depth(frames)  # the first value may be the one that is wrong
    if depth not in (3, 4):
        shape = shapes.describe(frames)
        found.add("keypoints", "bad_shape", f"keypoints have the shape {shape}; they must be nested as "
                  "[frame][joint][value], or with people as [frame][person][joint][value]")  # fmt: skip
        return None, coords
    before = found.total
    for loc, rule, message in walk(frames, depth, joints, coords):
        found.add(loc, rule, message)
    if found.total == before:  # the walk is meant to be as strict as the conversion; never let that be silent
        found.add("keypoints", "bad_shape", "keypoints are not regular nested lists of numbers")
    return None, coords


def _usual_depth(frames: list[Any]) -> int:
    """The most frequent depth of the first values of all joints (or people)."""
    depths = Counter(
        shapes.leaf_depth([child], 2) if isinstance(frame, list) else 1
        for frame in frames
        if frame is not None
        for child in (frame if isinstance(frame, list) else [frame])
    )
    depths.pop(0, None)  # nulls have no depth
    return max(depths, key=lambda depth: depths[depth], default=0)


def _convert(frames: list[Any], depth: int) -> npt.NDArray[np.float64] | None:
    """The fast path: regular nested lists of finite numbers, nulls allowed above the last level; None if irregular."""
    nodes: list[Any] = frames
    masks: list[npt.NDArray[np.bool_] | None] = []
    widths: list[int] = []
    for _ in range(depth - 1):
        kinds = set(map(type, nodes))
        if not kinds <= {list, type(None)}:
            return None
        mask = None
        if type(None) in kinds:
            mask = np.array([node is not None for node in nodes])
            nodes = [node for node in nodes if node is not None]
        lengths = set(map(len, nodes))
        if len(lengths) != 1 or 0 in lengths:
            return None
        masks.append(mask)
        widths.append(lengths.pop())
        nodes = list(chain.from_iterable(nodes))
    if not set(map(type, nodes)) <= {int, float}:
        return None
    try:
        values = np.fromiter(nodes, np.float64, len(nodes))  # a quarter faster than `np.array`
    except OverflowError:
        return None
    if not np.isfinite(values).all():
        return None
    for level in reversed(range(depth - 1)):
        values = values.reshape(-1, *widths[level:])
        mask = masks[level]
        if mask is not None:  # put the nulls back
            full = np.full((len(mask), *values.shape[1:]), np.nan)
            full[mask] = values
            values = full
    return values
