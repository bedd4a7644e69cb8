"""HDF5 files of SLEAP (``*.analysis.h5``) and DeepLabCut (``*.h5``), read with the library ``h5py``.

SLEAP has ``tracks`` (tracks, 2, nodes, frames), ``node_names``, ``track_names`` and ``point_scores``; newer versions
state the order of the axes in the attribute ``dims``. DeepLabCut has a pandas table whose column names are a pickled
attribute, which is read by the restricted unpickler. Sources: SLEAP, "Analysis HDF5"; sleap-io,
sleap_io/io/analysis_h5.py; pandas, "HDF5 (PyTables)".
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skeleton_prompt.clips.formats.errors import FormatError, LibraryMissing
from skeleton_prompt.clips.formats.format import Format
from skeleton_prompt.clips.formats.layout_choice import known_layout
from skeleton_prompt.clips.formats.options import ReadOptions
from skeleton_prompt.clips.formats.people import Detection, Frame
from skeleton_prompt.clips.formats.recording import MAX_VALUES, Recording
from skeleton_prompt.clips.formats.safe_pickle import UnsafePickle, safe_loads
from skeleton_prompt.clips.formats.source import Source
from skeleton_prompt.clips.formats.tables import deeplabcut_recording

Array = NDArray[np.float64]

SUFFIXES = (".h5", ".hdf5")
_MAGIC = b"\x89HDF\r\n\x1a\n"


def detect(source: Source) -> float:
    """How surely a file is HDF5 of SLEAP or DeepLabCut."""
    return 0.9 if source.head.startswith(_MAGIC) or source.suffix in SUFFIXES else 0.0


def read(source: Source, _options: ReadOptions) -> list[Recording]:
    """The recording of a file."""
    with _opened(source) as file:
        if "tracks" in file and "node_names" in file:
            return [_sleap(source, file)]
        for name in file:
            if _is_group(file[name]) and "table" in file[name]:
                return [_pandas_table(source, file[name])]
            if _is_group(file[name]) and "block0_values" in file[name]:
                return [_pandas_fixed(source, file[name])]
        found = ", ".join(list(file)[:8])
    raise FormatError(source.path, f"HDF5 with {found or 'nothing'} in it is neither SLEAP analysis nor DeepLabCut")


@contextmanager
def _opened(source: Source) -> Iterator[Any]:
    try:
        import h5py
    except ImportError:
        raise LibraryMissing(source.path, "HDF5 (SLEAP, DeepLabCut)", "h5py") from None
    if not source.head.startswith(_MAGIC):
        raise FormatError(source.path, "not an HDF5 file by its first bytes")
    try:
        with h5py.File(io.BytesIO(source.data), "r") as file:
            yield file
    except FormatError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise FormatError(source.path, f"the HDF5 file is damaged or cut off ({str(error)[:120]})") from None


def _is_group(node: Any) -> bool:
    return hasattr(node, "keys")


def _array(source: Source, node: Any) -> NDArray[Any]:
    if int(np.prod(node.shape)) > MAX_VALUES:
        raise FormatError(source.path, f"{node.name}: {node.shape} is larger than a clip can be")
    return np.asarray(node[()])


def _texts(source: Source, node: Any) -> list[str]:
    return [
        value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        for value in _array(source, node).ravel()
    ]


def _sleap(source: Source, file: Any) -> Recording:
    names = _texts(source, file["node_names"])
    tracks = _ordered(source, file["tracks"], len(names), 2)
    scores = np.ones(tracks.shape[:3])
    if "point_scores" in file and file["point_scores"].size:
        found = _array(source, file["point_scores"]).astype(np.float64)
        for axes in ((2, 0, 1), (0, 1, 2)):
            if found.ndim == 3 and tuple(found.shape[axis] for axis in axes) == tracks.shape[:3]:
                scores = found.transpose(axes)
                break
    frames = []
    several = tracks.shape[1] > 1
    for t in range(len(tracks)):
        people = []
        for track in range(tracks.shape[1]):
            values = np.column_stack([tracks[t, track], scores[t, track]])
            if np.isfinite(tracks[t, track]).all(1).any():
                people.append(Detection(values, track if several else None))
        frames.append(Frame(people))
    return Recording(frames, "xyc", known_layout(names), id=source.stem.removesuffix(".analysis"))


def _ordered(source: Source, node: Any, nodes: int, channels: int) -> Array:
    """``tracks`` as (frames, tracks, nodes, 2)."""
    values = _array(source, node).astype(np.float64)
    dims = node.attrs.get("dims")
    if dims is not None and values.ndim == 4:
        words = json.loads(dims if isinstance(dims, (str, bytes)) else str(dims))
        kinds = [
            next((kind for kind in ("frame", "track", "node", "xy") if kind in str(word).lower()), "xy")
            for word in words
        ]
        if sorted(kinds) == ["frame", "node", "track", "xy"]:
            return values.transpose([kinds.index(kind) for kind in ("frame", "track", "node", "xy")])
    if values.ndim == 4 and values.shape[1:3] == (channels, nodes):
        return values.transpose(3, 0, 2, 1)
    if values.ndim == 4 and values.shape[2:] == (nodes, channels):
        return values
    raise FormatError(source.path, f"tracks of shape {values.shape} do not fit {nodes} nodes of {channels} coordinates")


def _unpickled(source: Source, value: Any) -> Any:
    if isinstance(value, np.ndarray):
        data = value.tobytes()
    else:
        data = bytes(value) if isinstance(value, bytes) else str(value).encode("latin-1", "replace")
    try:
        return safe_loads(data)
    except UnsafePickle as error:
        raise FormatError(source.path, f"column names: {error}") from None


def _pandas_table(source: Source, group: Any) -> Recording:
    """``to_hdf(..., format="table")``: rows with ``index`` and blocks of values, names in ``non_index_axes``."""
    axes = group.attrs.get("non_index_axes")
    names = _unpickled(source, axes)[0][1] if axes is not None else []
    rows = _array(source, group["table"])
    blocks = [name for name in rows.dtype.names or () if name.startswith("values_block")]
    if len(blocks) != 1 or not names:
        raise FormatError(source.path, "not a table of DeepLabCut: its values are not one block of named columns")
    return _deeplabcut(source, names, rows[blocks[0]].astype(np.float64), rows["index"])


def _pandas_fixed(source: Source, group: Any) -> Recording:
    """``to_hdf(..., format="fixed")``: the levels of the column names and one block of values."""
    levels, codes = [], []
    for level in range(8):
        if f"block0_items_level{level}" not in group:
            break
        levels.append(_texts(source, group[f"block0_items_level{level}"]))
        codes.append(_array(source, group[f"block0_items_label{level}"]).astype(int))
    if not levels:
        raise FormatError(source.path, "not a table of DeepLabCut: its columns have one level of names")
    names = [
        tuple(level[code[column]] for level, code in zip(levels, codes, strict=True)) for column in range(len(codes[0]))
    ]
    values = _array(source, group["block0_values"]).astype(np.float64)
    index = _array(source, group["axis1"]) if "axis1" in group else np.arange(len(values))
    return _deeplabcut(source, names, values, index)


def _deeplabcut(source: Source, names: Any, table: Array, index: NDArray[Any]) -> Recording:
    columns = [tuple(map(str, name)) for name in names]
    if not columns or any(len(name) not in (3, 4) for name in columns) or table.shape[1:] != (len(columns),):
        raise FormatError(source.path, "not a table of DeepLabCut: columns are not scorer, body part and coordinate")
    triples = [(name[1] if len(name) == 4 else "", name[-2], name[-1]) for name in columns]
    numbers: list[int | None] = [int(i) for i in index] if index.dtype.kind in "iu" else [None] * len(table)
    return deeplabcut_recording(str(source.path), triples, table, numbers)


FORMAT = Format(
    "hdf5",
    "SLEAP analysis HDF5, DeepLabCut HDF5",
    SUFFIXES,
    "`.analysis.h5` or `.h5`; needs `pip install 'skeleton-prompt[formats]'`",
    "names of the nodes or body parts",
    "`--fps`",
    detect,
    read,
    options=("--fps",),
)
