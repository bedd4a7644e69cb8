"""``motion.npz``: clips of the corpus in one file, and which of them are held out.

| array | shape, type | what |
|---|---|---|
| ``rel`` | (frames, 17, 3) float16 | joints relative to the root, metres, y up |
| ``root`` | (frames, 3) float32 | the root; its horizontal origin is the clip's first frame |
| ``offsets`` | (clips + 1,) int64 | clip i is frames ``offsets[i]:offsets[i + 1]`` |
| ``names``, ``source`` | (clips,) str | ``source/recording``, with ``#n`` where a recording was cut |
| ``labels`` | (clips,) str | what the recording is said to show, or empty |
| ``held_out`` | (clips,) bool | never trained on |
| ``joint_names``, ``edges``, ``fps``, ``up_axis``, ``units`` | | |
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skeleton_prompt.clips.canonical_skeleton import CANONICAL, CANONICAL_EDGES, JOINTS
from skeleton_prompt.clips.formats.mocap.reading import Array, MotionFileError, finite, read_arrays
from training.pretraining.motion_sampler import CMU_HELD_OUT, HELD_OUT

MIN_FRAMES = 15  # half a second: shorter clips hold no motion
MAX_CLIP_S = 20.0  # longer recordings are cut, so that they are drawn as often as their length deserves
MAX_JUMP = 0.45  # metres that a joint moves in 1/30 s at most; more is another person or a fault of the capture
HELD_OUT_SHARE = 0.1
_KNOWN_TEST = re.compile(rf"0?({'|'.join(subject.lstrip('0') for subject in CMU_HELD_OUT)})_\d\d(?!\d)|HDM_tr_")
_REQUIRED = ("rel", "root", "offsets", "names", "source", "fps")


@dataclass(frozen=True)
class Clip:
    """One clip of the corpus.

    Attributes:
        name: ``source/recording``, perhaps with ``#n``.
        source: Where it comes from; sources share the draws of pre-training.
        subject: Who or what must not be in both parts; clips of one subject are held out together.
        rel: ``(F, 17, 3)`` float16.
        root: ``(F, 3)`` float32.
        held_out: True or False if a file said so, None if it is to be decided.
        label: What the recording is said to show, or empty.
    """

    name: str
    source: str
    subject: str
    rel: NDArray[np.float16]
    root: NDArray[np.float32]
    held_out: bool | None = None
    label: str = ""


def resample(frames: Array, fps: float, wanted: float) -> Array:
    """Frames at another rate, linearly interpolated: ``(F, ...)`` to ``(F', ...)`` of the same duration."""
    count = int(np.floor((len(frames) - 1) / fps * wanted + 1e-6)) + 1
    index = np.minimum(np.arange(count) * (fps / wanted), len(frames) - 1)
    low = np.floor(index + 1e-9).astype(int)
    part = (index - low).reshape(-1, *(1,) * (frames.ndim - 1))
    high = np.minimum(low + 1, len(frames) - 1)
    result: Array = frames[low] * (1 - part) + frames[high] * part
    return result


def clips_of(name: str, source: str, subject: str, frames: Array, fps: float) -> list[Clip]:
    """Cut a recording ``(F, 17, 3)`` where a joint jumps and where it is too long; pieces too short are left out."""
    jumps = np.linalg.norm(np.diff(frames, axis=0), axis=-1).max(-1, initial=0) > MAX_JUMP * 30 / fps
    bounds = [0, *(np.flatnonzero(jumps) + 1).tolist(), len(frames)]
    pieces: list[Array] = []
    for first, end in itertools.pairwise(bounds):
        parts = int(np.ceil((end - first) / (MAX_CLIP_S * fps)))
        pieces += np.array_split(frames[first:end], max(parts, 1))
    pieces = [piece for piece in pieces if len(piece) >= max(2.0, MIN_FRAMES * fps / 30)]
    names = [name] if len(pieces) == 1 else [f"{name}#{index}" for index in range(len(pieces))]
    return [_clip(piece_name, source, subject, piece) for piece_name, piece in zip(names, pieces, strict=True)]


def _clip(name: str, source: str, subject: str, frames: Array) -> Clip:
    root = frames[:, 0] - frames[0, 0] * np.array([1.0, 0.0, 1.0])
    return Clip(name, source, subject, (frames - frames[:, :1]).astype(np.float16), root.astype(np.float32))


def is_motion_file(path: Path) -> bool:
    """Whether an npz has the arrays of a motion corpus."""
    return set(read_arrays(path, ("offsets", "fps"))) == {"offsets", "fps"} and "names" in read_arrays(path, ("names",))


def read_motion_file(path: Path, fps: float) -> list[Clip]:
    """The clips of a ``motion.npz``, resampled if it has another rate.

    Where the file does not say which clips are held out, the shipped corpus' own people are, and no others of it.

    Raises:
        MotionFileError: If arrays are missing, do not fit together, or hold what is no number.
    """
    arrays = read_arrays(path, (*_REQUIRED, "held_out", "labels"))
    if missing := [name for name in _REQUIRED if name not in arrays]:
        raise MotionFileError(path, f"has no array {missing[0]}")
    rel, root = finite(path, "rel", arrays["rel"]), finite(path, "root", arrays["root"])
    offsets, names, source = (arrays[name] for name in ("offsets", "names", "source"))
    if rel.shape[1:] != (JOINTS, 3) or root.shape != (len(rel), 3):
        raise MotionFileError(path, f"rel {rel.shape} and root {root.shape} must be (frames, 17, 3) and (frames, 3)")
    clips = len(names)
    ordered = offsets.shape == (clips + 1,) and offsets[0] == 0 and offsets[-1] == len(rel)
    if not ordered or (np.diff(offsets) < 1).any() or source.shape != (clips,):
        raise MotionFileError(path, f"offsets and source do not fit {clips} clips of {len(rel)} frames")
    labels = arrays.get("labels", np.full(clips, ""))
    if labels.shape != (clips,):
        raise MotionFileError(path, f"labels {labels.shape} do not fit {clips} clips")
    held_out = arrays.get("held_out", np.array([bool(HELD_OUT.search(str(name))) for name in names]))
    rate = float(finite(path, "fps", np.asarray(arrays["fps"])))
    result = []
    for index in range(clips):
        part = slice(int(offsets[index]), int(offsets[index + 1]))
        name = str(names[index])
        frames = resample(rel[part] + root[part, None], rate, fps)
        clip = _clip(name, str(source[index]), name.split("#")[0], frames)
        result.append(replace(clip, held_out=bool(held_out[index]), label=str(labels[index])))
    return result


def decide_held_out(clips: Sequence[Clip]) -> list[bool]:
    """Which clips are held out: whole subjects, about a tenth of each source, and always the same ones.

    A subject is held out by a hash of its name, so that adding files later does not move others between the parts.
    The people that the shipped corpus holds out are held out in every source that names its files as CMU and HDM05
    do, because the same recordings come in several formats.
    """
    decided = [clip.held_out for clip in clips]
    for source in sorted({clip.source for clip in clips}):
        mine = [i for i, clip in enumerate(clips) if clip.source == source and decided[i] is None]
        subjects = sorted({clips[i].subject for i in mine}, key=_draw)
        if len(subjects) == 1:
            key = {i: clips[i].name.split("#")[0] for i in mine}
            subjects = sorted(set(key.values()), key=_draw)
        else:
            key = {i: clips[i].subject for i in mine}
        known = {key[i] for i in mine if is_known_test(clips[i].name)}
        chosen = {subject for subject in subjects if _draw(subject) < HELD_OUT_SHARE} | known
        if not chosen and len(subjects) > 1:
            chosen = {subjects[0]}
        if chosen == set(subjects) and len(subjects) > 1 and len(known) < len(subjects):
            chosen.discard(max(set(subjects) - known, key=_draw))
        for i in mine:
            decided[i] = key[i] in chosen
    return [bool(held) for held in decided]


def is_known_test(name: str) -> bool:
    """Whether a recording is of a person whom the shipped corpus holds out: ``CMU_HELD_OUT``, HDM05 actor ``tr``."""
    stem = name.rsplit("/", 1)[-1]
    return bool(_KNOWN_TEST.match(stem))


def _draw(name: str) -> float:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") / 2**48


def write_motion_file(path: Path, clips: Sequence[Clip], held_out: Iterable[bool], fps: float) -> None:
    """Write the file; it is there whole or not at all.

    Raises:
        OSError: If the folder is not there or full.
    """
    lengths = [len(clip.rel) for clip in clips]
    edges = sorted(CANONICAL_EDGES, key=lambda edge: edge[1])
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez_compressed(
                file,
                rel=np.concatenate([clip.rel for clip in clips]),
                root=np.concatenate([clip.root for clip in clips]),
                offsets=np.cumsum([0, *lengths], dtype=np.int64),
                names=np.array([clip.name for clip in clips]),
                source=np.array([clip.source for clip in clips]),
                labels=np.array([clip.label for clip in clips]),
                held_out=np.array(list(held_out), dtype=bool),
                joint_names=np.array(CANONICAL),
                edges=np.array(edges),
                fps=np.array(float(fps)),
                up_axis=np.array("y"),
                units=np.array("m"),
            )
            file.flush()
            os.fsync(file.fileno())
        partial.chmod(0o644)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
