"""Reads clips out of files: JSON, JSON lines, msgpack, and our `.npz`, each also gzipped."""

from __future__ import annotations

import gzip
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from service.cli.output import UsageError

LONGEST_FILE = 1 << 30
Document = dict[str, Any]


def read_clips(paths: Iterable[Path]) -> Iterator[tuple[Path, Document]]:
    """Each clip document of each file, in order. A folder means the clip files in it, sorted.

    Raises:
        UsageError: A file is not there or is not a file of clips.
    """
    for path in paths:
        files = sorted(p for p in path.rglob("*") if _kind(p) and p.is_file()) if path.is_dir() else [path]
        if not files:
            raise UsageError(f"{path}: no clip files (.json, .ndjson, .msgpack, .npz) in this folder")
        for file in files:
            for document in _read(file):
                yield file, document


def write_clips(path: Path, documents: Iterable[Document]) -> int:
    """Write clip documents as JSON, JSON lines or msgpack, by the name of the file; gives their number.

    Raises:
        UsageError: The name ends otherwise.
    """
    kind = _kind(path)
    rows = list(documents)
    if kind in (".ndjson", ".jsonl"):
        data = b"".join(
            orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE) for row in rows
        )
    elif kind == ".json":
        data = orjson.dumps(rows[0] if len(rows) == 1 else {"clips": rows}, option=orjson.OPT_SERIALIZE_NUMPY)
    else:
        raise UsageError(f"{path}: write to .json, .ndjson or .jsonl, with .gz after it to compress")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, 6, mtime=0) if path.suffix == ".gz" else data)
    return len(rows)


def _kind(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    kind = suffixes[-1] if suffixes else ""
    return kind if kind in (".json", ".ndjson", ".jsonl", ".msgpack", ".npz") else ""


def _read(path: Path) -> Iterator[Document]:
    kind = _kind(path)
    if not kind:
        raise UsageError(f"{path}: not a clip file by its name (.json, .ndjson, .msgpack, .npz)")
    try:
        data = _bytes(path)
    except (OSError, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"{path}: {reason}") from error
    try:
        if kind == ".npz":
            yield from _npz(data)
        elif kind == ".msgpack":
            import msgpack

            yield from _documents(msgpack.unpackb(data))
        elif kind == ".json":
            yield from _documents(orjson.loads(data))
        else:
            for line in data.splitlines():
                if line.strip():
                    yield from _documents(orjson.loads(line))
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: {error}") from error


def _bytes(path: Path) -> bytes:
    if path.stat().st_size > LONGEST_FILE:
        raise UsageError(f"{path}: larger than {LONGEST_FILE >> 20} MiB")
    if path.suffix.lower() != ".gz":
        return path.read_bytes()
    with gzip.open(path) as stream:
        data = stream.read(LONGEST_FILE + 1)
    if len(data) > LONGEST_FILE:
        raise UsageError(f"{path}: larger than {LONGEST_FILE >> 20} MiB once unpacked")
    return data


def _documents(value: Any) -> Iterator[Document]:
    """A clip, a list of clips, or `{"clips": [...]}`."""
    if isinstance(value, Mapping) and isinstance(value.get("clips"), list):
        value = value["clips"]
    for row in value if isinstance(value, list) else [value]:
        if not isinstance(row, Mapping) or "keypoints" not in row:
            raise ValueError("a clip is an object with keypoints")
        yield dict(row)


def _npz(data: bytes) -> Iterator[Document]:
    """A stored clip of ours, or a set of clips: keypoints of all frames, offsets, labels, label_names, joint_names."""
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        if "offsets" not in archive:
            from skeleton_prompt.clips.clip import clip_document, decode_clip

            yield clip_document(decode_clip(data))
            return
        arrays = {name: archive[name] for name in archive.files}
    keypoints, offsets = arrays["keypoints"].astype(np.float32), arrays["offsets"]
    layout: Any = {"joints": [str(name) for name in arrays["joint_names"]]}
    if "layout" in arrays:
        layout = str(arrays["layout"])
    coords = str(arrays["coords"]) if "coords" in arrays else {2: "xy", 3: "xyz", 4: "xyzc"}[keypoints.shape[-1]]
    fps = float(np.ravel(arrays["fps"])[0]) if "fps" in arrays else 30.0
    for index, (start, end) in enumerate(itertools.pairwise(offsets)):
        document: Document = {"id": f"clip-{index}", "layout": layout, "fps": fps, "keypoints": keypoints[start:end]}
        if coords in ("xyz", "xyzc"):
            document["coords"] = coords
        if "labels" in arrays:
            document["label"] = str(arrays["label_names"][arrays["labels"][index]])
        if "subjects" in arrays:
            document["group"] = str(arrays["subjects"][index])
        yield document
