"""Pickles of pyskl, MMAction2 and CTR-GCN, read without running anything.

pyskl has ``{"split": ..., "annotations": [...]}`` or the list alone; an annotation has ``keypoint`` (people, frames,
joints, 2 or 3), ``keypoint_score`` (people, frames, joints) for 2-D, ``total_frames``, ``img_shape`` (height, width),
``label`` (a number) and ``frame_dir``. Source: kennymckormick/pyskl, tools/data/README.md, "The format of annotations".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skeleton_prompt.clips.formats.errors import FormatError
from skeleton_prompt.clips.formats.format import Format
from skeleton_prompt.clips.formats.layout_choice import layouts_with
from skeleton_prompt.clips.formats.options import ReadOptions
from skeleton_prompt.clips.formats.people import Detection, Frame
from skeleton_prompt.clips.formats.recording import Recording
from skeleton_prompt.clips.formats.safe_pickle import UnsafePickle, safe_loads
from skeleton_prompt.clips.formats.source import Source

SUFFIXES = (".pkl", ".pickle")
LAYOUTS_2D = {17: "coco17", 26: "halpe26", 133: "wholebody133", 18: "openpose18"}
LAYOUTS_3D = {25: "ntu25", 17: "h36m17"}
_NTU = re.compile(r"S\d{3}C\d{3}(P\d{3})R\d{3}(A\d{3})")


def detect(source: Source) -> float:
    """How surely a file is a pickle."""
    return 0.9 if source.suffix in SUFFIXES else 0.0


def read(source: Source, _options: ReadOptions) -> list[Recording]:
    """One recording for each annotation."""
    try:
        value = safe_loads(source.data)
    except UnsafePickle as error:
        raise FormatError(
            source.path,
            f"{error}. A pickle is never run here; in the program that wrote it, save numpy arrays: "
            "np.savez('clips.npz', keypoints=array), and give --layout and --coords",
        ) from None
    rows = value.get("annotations") if isinstance(value, Mapping) else value
    if (
        not isinstance(rows, list)
        or not rows
        or not all(isinstance(row, Mapping) and "keypoint" in row for row in rows)
    ):
        raise FormatError(
            source.path, f"a pickle of {_kind(value)}, not of pyskl annotations with keypoint; save arrays as .npz"
        )
    return [_annotation(row, f"{source.path}, annotation {index}") for index, row in enumerate(rows)]


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a dict with {', '.join(map(str, list(value)[:6]))}"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    return type(value).__name__


def _annotation(row: Mapping[str, Any], place: str) -> Recording:
    keypoint = _numbers(row["keypoint"], place, "keypoint")
    if keypoint.ndim == 3:
        keypoint = keypoint[None]
    if keypoint.ndim != 4 or keypoint.shape[-1] not in (2, 3):
        raise FormatError(place, f"keypoint of shape {keypoint.shape} is not (people, frames, joints, 2 or 3)")
    M, T, V, C = keypoint.shape
    score = row.get("keypoint_score")
    deep = C == 3 and score is None
    confidence = np.ones((M, T, V)) if score is None else _numbers(score, place, "keypoint_score").reshape(-1, T, V)
    if confidence.shape != (M, T, V):
        raise FormatError(
            place, f"keypoint_score of shape {np.shape(confidence)} does not fit keypoint {keypoint.shape}"
        )
    values = np.concatenate([keypoint[..., : 3 if deep else 2], confidence[..., None]], -1)
    values[(keypoint == 0).all(-1)] = np.nan
    frames = [
        Frame([Detection(values[m, t], m if M > 1 else None) for m in range(M) if np.isfinite(values[m, t]).any()])
        for t in range(T)
    ]
    name = str(row.get("frame_dir") or row.get("filename") or "")
    ntu = _NTU.search(name)
    label = row.get("label")
    return Recording(
        frames,
        "xyzc" if deep else "xyc",
        _layout(V, deep=deep),
        image_size=_size(row.get("original_shape") or row.get("img_shape")),
        y_axis="up" if deep and V == 25 else None,
        unknown_axes=deep and V != 25,
        id=name.replace("\\", "/").rsplit("/", 1)[-1] or None,
        label=None if label is None else str(label),
        group=ntu.group(1) if ntu else None,
        notes=_notes(label, V, deep=deep),
    )


def _layout(joints: int, *, deep: bool) -> str | None:
    known = (LAYOUTS_3D if deep else LAYOUTS_2D).get(joints)
    return known if known in layouts_with(joints) else None


def _notes(label: Any, joints: int, *, deep: bool) -> tuple[str, ...]:
    notes = []
    layout = _layout(joints, deep=deep)
    if layout:
        notes.append(f"{joints} joints are taken as {layout}; --layout says otherwise")
    if isinstance(label, (int, np.integer)):
        notes.append("labels are the numbers of the file, which has no names for them")
    return tuple(notes)


def _numbers(value: Any, place: str, name: str) -> NDArray[np.float64]:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        raise FormatError(place, f"{name} is {_kind(value)}, not an array of numbers")
    return value.astype(np.float64)


def _size(value: Any) -> tuple[float, float] | None:
    """Width and height from pyskl's (height, width)."""
    if (
        isinstance(value, (tuple, list))
        and len(value) >= 2
        and all(isinstance(n, (int, float)) and n > 1 for n in value[:2])
    ):
        return float(value[1]), float(value[0])
    return None


FORMAT = Format(
    "pyskl",
    "pyskl, MMAction2 pickles",
    SUFFIXES,
    "`.pkl` annotations with `keypoint`, read by a restricted unpickler; one clip for each annotation",
    "by the number of joints: 2-D 17 `coco17`; 3-D 25 `ntu25`, 17 `h36m17`",
    "`--fps`",
    detect,
    read,
    options=("--fps", "--layout"),
)
