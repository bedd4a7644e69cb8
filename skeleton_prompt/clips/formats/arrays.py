"""NumPy arrays of keypoints: ``.npy``, and ``.npz`` of other programs.

An array says neither joints nor coordinates. The layout comes from ``joint_names`` in the file, from the file name of
a known program, or from ``--layout``; three numbers a joint are x, y, z or x, y, confidence, which only ``--coords``
settles. The order of the axes is found from the number of joints and coordinates where one order fits, else asked for
by ``--axes``. Nothing is ever unpickled.

Letters: N clips, T frames, P people, J joints, C coordinates.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skeleton_prompt.clips.formats.errors import AmbiguousFile, FormatError
from skeleton_prompt.clips.formats.format import Format
from skeleton_prompt.clips.formats.layout_choice import known_layout, layouts_with
from skeleton_prompt.clips.formats.options import COORDS, ReadOptions
from skeleton_prompt.clips.formats.people import MAX_PEOPLE, Detection, Frame
from skeleton_prompt.clips.formats.recording import CHANNELS, Recording
from skeleton_prompt.clips.formats.source import MAX_FILE_BYTES, Source
from skeleton_prompt.clips.layouts import BadLayout, UnknownLayout, resolve_layout

Array = NDArray[np.float64]

NAMES = (
    "keypoints", "keypoint", "kpts", "poses", "pose", "skeleton", "skeletons", "joints", "positions_3d", "pose3d",
    "pose_3d", "positions_2d", "data", "x", "arr_0",
)  # fmt: skip
# Orders that programs write: ours, pyskl's, ST-GCN's with and without clips.
ORDERS = ("TJC", "TPJC", "PTJC", "CTJ", "CTJP", "NCTJP", "NTJC", "NPTJC", "NTPJC", "TCJ", "TF")
FREEMOCAP = {33: 33, 543: 33, 553: 33}  # number of points: how many of them are MediaPipe's body


def detect_npy(source: Source) -> float:
    """How surely a file is one array."""
    return 0.9 if source.suffix == ".npy" or source.head.startswith(b"\x93NUMPY") else 0.0


def detect_npz(source: Source) -> float:
    """How surely a file is an archive of arrays."""
    return 0.6 if source.suffix == ".npz" else 0.0


def read_npy(source: Source, options: ReadOptions) -> list[Recording]:
    """The recording of an array, or one for each clip of it."""
    try:
        values = np.load(io.BytesIO(source.data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise FormatError(
            source.path, f"not an array of numbers ({str(error)[:120]}); arrays of objects are never read"
        ) from None
    return _recordings(source, values, {}, options)


def npz_arrays(source: Source) -> dict[str, NDArray[Any]]:
    """The arrays of an archive.

    Raises:
        FormatError: damaged, too large, or with arrays of objects.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(source.data)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_FILE_BYTES:
                raise FormatError(source.path, f"larger than {MAX_FILE_BYTES >> 20} MiB once unpacked")
        with np.load(io.BytesIO(source.data), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FormatError:
        raise
    except ValueError as error:
        raise FormatError(
            source.path,
            f"an array of this .npz cannot be read ({str(error)[:80]}); arrays of objects are pickles and never read: "
            "save plain arrays with np.savez('clip.npz', keypoints=array)",
        ) from None
    except (OSError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise FormatError(source.path, f"not a sound .npz ({str(error)[:120]})") from None


def read_npz(source: Source, options: ReadOptions) -> list[Recording]:
    """The recording of the keypoints of an archive."""
    arrays = npz_arrays(source)
    if {"poses", "trans"} <= arrays.keys() and arrays["poses"].ndim == 2:
        raise FormatError(
            source.path, "AMASS: SMPL poses are rotations, not keypoints; save the joints (frames, 22, 3) as an array"
        )
    numeric = [name for name, array in arrays.items() if array.dtype.kind in "fiu" and array.ndim >= 3]
    name = next((name for name in NAMES if name in numeric), numeric[0] if len(numeric) == 1 else None)
    if name is None:
        shapes = ", ".join(f"{key} {array.shape}" for key, array in list(arrays.items())[:8])
        raise FormatError(source.path, f"no array called keypoints among {shapes or 'no arrays'}")
    return _recordings(source, arrays[name], arrays, options, name)


def _recordings(
    source: Source, values: NDArray[Any], arrays: Mapping[str, NDArray[Any]], options: ReadOptions, name: str = "array"
) -> list[Recording]:
    if values.dtype.kind not in "fiu" or values.ndim < 2 or 0 in values.shape:
        raise FormatError(source.path, f"{name} is {values.dtype} of shape {values.shape}, not keypoints")
    notes: list[str] = []
    values, known, coords = _freemocap(source, values, options, notes)
    layout = options.layout or _named(arrays) or known
    coords = options.coords or _stated(arrays, "coords") or coords
    if layout is None:
        raise _unknown_layout(source, name, values, arrays, coords)
    spec = layout if isinstance(layout, str) else {"joints": list(layout)}
    try:
        joints = len(resolve_layout(spec).joints)
    except (UnknownLayout, BadLayout) as error:
        raise FormatError(source.path, f"layout: {error.args[0]}") from None
    order = _order(source, name, values, joints, coords, options)
    clips = _arranged(values, order, joints)
    C = clips.shape[-1]
    coords = _coords(source, name, coords, C)
    fps = _stated_fps(arrays)
    return [
        Recording(
            _frames(clip, coords, several=clip.shape[1] > 1),
            coords if coords.endswith("c") else coords + "c",
            layout,
            fps=fps,
            unknown_axes="z" in coords,
            id=source.stem if len(clips) == 1 else f"{source.stem}-{index}",
            notes=(*notes, f"{name} {values.shape} is read as {order}: {_spelled(order)}"),
        )
        for index, clip in enumerate(clips)
    ]


def _freemocap(
    source: Source, values: NDArray[Any], options: ReadOptions, notes: list[str]
) -> tuple[NDArray[Any], str | None, str | None]:
    """What the file names of FreeMoCap say: MediaPipe's points, of which the body comes first, in three dimensions."""
    stem = source.stem.lower()
    body = FREEMOCAP.get(values.shape[1]) if values.ndim == 3 and values.shape[2] == 3 else None
    if body is None or "mediapipe" not in stem or not ("3d" in stem or "xyz" in stem):
        return values, None, None
    if options.layout is None and values.shape[1] != body:
        notes.append(f"FreeMoCap: the {body} points of the body are kept, hands and face are left out")
        values = values[:, :body]
    return values, "mediapipe33", "xyz"


def _named(arrays: Mapping[str, NDArray[Any]]) -> str | tuple[str, ...] | None:
    layout = _stated(arrays, "layout")
    if layout:
        return layout
    for key in ("joint_names", "keypoint_names", "joints_names", "names", "landmark_names", "node_names"):
        found = arrays.get(key)
        if found is not None and found.dtype.kind in "US" and found.ndim == 1 and len(found) > 1:
            return known_layout([str(name.decode() if isinstance(name, bytes) else name) for name in found.tolist()])
    return None


def _stated(arrays: Mapping[str, NDArray[Any]], key: str) -> str | None:
    found = arrays.get(key)
    return str(found.item()) if found is not None and found.dtype.kind == "U" and found.size == 1 else None


def _stated_fps(arrays: Mapping[str, NDArray[Any]]) -> float | None:
    for key in ("fps", "frame_rate", "framerate"):
        found = arrays.get(key)
        if found is not None and found.dtype.kind in "fiu" and found.size:
            value = float(found.ravel()[0])
            if np.isfinite(value) and value > 0:
                return value
    return None


def _unknown_layout(
    source: Source, name: str, values: NDArray[Any], arrays: Mapping[str, NDArray[Any]], coords: str | None
) -> AmbiguousFile:
    fitting = [f"{size}: {', '.join(layouts_with(size))}" for size in sorted(set(values.shape)) if layouts_with(size)]
    known = f"; layouts by size of an axis: {'; '.join(fitting)}" if fitting else ""
    lacking = "joint_names" if arrays else "joint names"
    also = "" if coords else " and --coords (xy, xyc, xyz or xyzc)"
    return AmbiguousFile(
        source.path,
        f"{name} {values.shape} found, but no {lacking} and no layout: give --layout NAME{also}{known}. A set of clips"
        " in the form of this project also has offsets and joint_names",
    )


def _order(
    source: Source, name: str, values: NDArray[Any], joints: int, coords: str | None, options: ReadOptions
) -> str:
    """The order of the axes: the one stated, or the only one of ``ORDERS`` that fits."""
    if options.axes:
        order = options.axes.upper()
        if len(order) != values.ndim or not set(order) <= set("NTPJCF") or len(set(order)) != len(order):
            raise AmbiguousFile(
                source.path, f"--axes {options.axes} does not name the {values.ndim} axes of {name} {values.shape}"
            )
        return order
    widths = {CHANNELS[coords]} if coords else {2, 3, 4}
    fitting = [order for order in ORDERS if len(order) == values.ndim and _fits(values.shape, order, joints, widths)]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise FormatError(
            source.path,
            f"{name} {values.shape} does not fit a layout of {joints} joints: no axis order with {joints} joints and "
            f"{' or '.join(map(str, sorted(widths)))} coordinates; --axes states the order, such as TJC",
        )
    raise AmbiguousFile(
        source.path, f"{name} {values.shape} may be {' or '.join(fitting)}: give --axes, one letter an axis"
    )


def _fits(shape: Sequence[int], order: str, joints: int, widths: set[int]) -> bool:
    sizes = dict(zip(order, shape, strict=True))
    if order == "TF":
        return any(sizes["F"] == joints * width for width in widths)
    people = sizes.get("P", 1)
    return sizes["J"] == joints and sizes["C"] in widths and people <= MAX_PEOPLE and sizes["T"] > 1


def _arranged(values: NDArray[Any], order: str, joints: int) -> Array:
    """Any order as (N, T, P, J, C)."""
    if order == "TF":
        values, order = values.reshape(len(values), joints, -1), "TJC"
    for axis in "NP":
        if axis not in order:
            values, order = values[None], axis + order
    return values.transpose([order.index(axis) for axis in "NTPJC"]).astype(np.float64)


def _coords(source: Source, name: str, coords: str | None, channels: int) -> str:
    if coords is None:
        if channels == 3:
            raise AmbiguousFile(
                source.path,
                f"{name} has three numbers for each joint: give --coords xyz (depth) or --coords xyc (confidence)",
            )
        coords = {2: "xy", 4: "xyzc"}.get(channels)
    if coords not in COORDS or CHANNELS[coords] != channels:
        raise AmbiguousFile(
            source.path, f"{name} has {channels} numbers for each joint, which coords {coords!r} does not mean"
        )
    return coords


def _frames(clip: Array, coords: str, *, several: bool) -> list[Frame]:
    """Frames of (T, P, J, C), a confidence of 1 added where there is none; people of zeros are not there."""
    if not coords.endswith("c"):
        seen = np.isfinite(clip).all(-1) & (clip != 0).any(-1)
        clip = np.concatenate([clip, seen[..., None].astype(np.float64)], -1)
    places = clip[..., :-1]
    there = (np.isfinite(places) & (places != 0)).any((2, 3))
    return [
        Frame([Detection(clip[t, p], p if several else None) for p in range(clip.shape[1]) if there[t, p]])
        for t in range(len(clip))
    ]


def _spelled(order: str) -> str:
    words = {
        "N": "clips",
        "T": "frames",
        "P": "people",
        "J": "joints",
        "C": "coordinates",
        "F": "joints and coordinates",
    }
    return ", ".join(words[axis] for axis in order)


_OPTIONS = ("--layout", "--coords", "--axes", "--fps", "--up-axis")
NPY = Format(
    "npy",
    "NumPy array, FreeMoCap",
    (".npy",),
    "`.npy` of keypoints; `mediapipe_body_3d_xyz.npy` of FreeMoCap",
    "`--layout`; FreeMoCap `mediapipe33`",
    "`--fps`",
    detect_npy,
    read_npy,
    options=_OPTIONS,
)
NPZ = Format(
    "npz",
    "NumPy archive of other programs",
    (".npz",),
    "`.npz` with one array of keypoints",
    "`joint_names` in the file, or `--layout`",
    "`fps` in the file, or `--fps`",
    detect_npz,
    read_npz,
    options=_OPTIONS,
)
