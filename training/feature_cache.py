"""Features of labelled sets, kept on disk: the expensive half of an evaluation, the same for every draw."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import skeleton_prompt
from skeleton_prompt.clip import InvalidClip
from skeleton_prompt.engine import Engine
from skeleton_prompt.normalise import Prepared, prepare
from training.datasets import LabelledSet
from training.examples import pack, unpack

BATCH = 16
CODE = ("normalise", "layouts", "aliases", "clip", "keypoints", "features", "backbone", "house", "engine")


@dataclass(frozen=True, eq=False)
class SetFeatures:
    """Features of every clip of a set.

    Attributes:
        features: ``(clips, F)``; zeros where a clip shows nothing.
        visible: ``(clips,)`` bool, whether it shows anything.
        seconds: What a clip took on average, from parsed clip to features; 0 when read from the cache.
    """

    features: np.ndarray
    visible: np.ndarray
    seconds: float


def default_cache() -> Path:
    """The user's cache folder, where the platform's convention has it."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "skeleton-prompt" / "features"


def code_version() -> str:
    """Hash of the code that features depend on: a change of it makes cached features worthless."""
    folder = Path(skeleton_prompt.__file__).parent
    sources = [(folder / f"{name}.py").read_bytes() for name in CODE if (folder / f"{name}.py").exists()]
    return hashlib.sha256(b"\0".join(sources)).hexdigest()[:16]


def main_person(labelled: LabelledSet, index: int) -> Prepared | None:
    """Who is taught or asked about in a clip; None where nothing is visible."""
    try:
        people, _ = prepare(labelled.clip(index))
    except InvalidClip:
        return None
    return max(people, key=lambda person: (person.visible > 0, person.motion))


def set_features(engine: Engine, labelled: LabelledSet, cache: Path, tick: Callable[[float], None]) -> SetFeatures:
    """Features of all clips of a set, from the cache or computed now and kept.

    Args:
        engine: On the backbone to judge.
        labelled: The set.
        cache: Folder; the key holds the backbone's hash and the code's.
        tick: Told the share done.
    """
    mark = f"{labelled.name} {len(labelled)} {engine.backbone_sha256} {code_version()}"
    path = cache / f"{labelled.name}-{hashlib.sha256(mark.encode()).hexdigest()[:20]}.npz"
    saved = unpack(path.read_bytes() if path.exists() else None, mark)
    if saved is not None:
        return SetFeatures(saved["features"], saved["visible"].astype(bool), 0.0)
    result = _compute(engine, labelled, tick)
    cache.mkdir(parents=True, exist_ok=True)
    # Two evaluations may run at once: what is there under the final name is always whole.
    partial = path.with_suffix(f".{os.getpid()}.tmp")
    partial.write_bytes(pack(mark, features=result.features, visible=result.visible))
    partial.replace(path)
    return result


def _compute(engine: Engine, labelled: LabelledSet, tick: Callable[[float], None]) -> SetFeatures:
    began = time.monotonic()
    people = []
    rows = []
    for index in range(len(labelled)):
        person = main_person(labelled, index)
        if person is not None:
            people.append(person)
            rows.append(index)
        tick(0.1 * index / len(labelled))
    parts = []
    for start in range(0, len(people), BATCH):
        parts.append(engine.features(people[start : start + BATCH], BATCH))
        tick(0.1 + 0.9 * start / len(people))
    values = np.concatenate(parts)
    features = np.zeros((len(labelled), values.shape[1]), dtype=np.float32)
    features[rows] = values
    visible = np.isin(np.arange(len(labelled)), rows)
    return SetFeatures(features, visible, (time.monotonic() - began) / len(labelled))
