"""Features of labelled sets, kept on disk: the expensive part of an evaluation, the same for every draw."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from skeleton_prompt.clips.clip import InvalidClip
from skeleton_prompt.clips.normalise import PreparedPerson, prepare
from skeleton_prompt.model.decision import MIN_FRAMES, MIN_VISIBLE
from skeleton_prompt.model.engine import Engine
from training.datasets import LabelledSet
from training.evaluation.experiments import FEATURE_CODE, code_version
from training.evaluation.perturbations import WHOLE, view_clip
from training.jobs.training_examples import decode_checkpoint, encode_checkpoint

BATCH = 16
CODE = ("evaluation/perturbations", "evaluation/feature_cache", "datasets/labelled")
People = dict[int, PreparedPerson]  # by index of their clip; a clip in which nothing is visible has none


@dataclass(frozen=True, eq=False)
class SetFeatures:
    """Features of some clips of a set.

    Attributes:
        rows: ``(n,)`` sorted indices of the clips.
        features: ``(n, F)`` float32; zeros where a clip shows nothing.
        visible: ``(n,)`` bool, whether it shows anything.
        enough: ``(n,)`` bool, whether it shows enough to be answered at all.
    """

    rows: np.ndarray
    features: np.ndarray
    visible: np.ndarray
    enough: np.ndarray

    def places(self, clips: np.ndarray) -> np.ndarray:
        """Where clips stand among the rows."""
        return np.searchsorted(self.rows, clips)

    def of(self, clips: np.ndarray) -> np.ndarray:
        """Features ``(len(clips), F)`` of clips."""
        values: np.ndarray = self.features[self.places(clips)]
        return values

    def visible_clips(self, clips: np.ndarray) -> np.ndarray:
        """Those of the clips that show anything."""
        kept: np.ndarray = clips[self.visible[self.places(clips)]]
        return kept


def default_cache() -> Path:
    """The user's cache folder, where the platform's convention has it."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "skeleton-prompt" / "features"


def main_person(labelled: LabelledSet, index: int, view: str = WHOLE) -> PreparedPerson | None:
    """Who is taught or asked about in a clip; None where nothing is visible."""
    try:
        people, _ = prepare(view_clip(view, labelled.clip(index), labelled.name, index))
    except InvalidClip:
        return None
    return max(people, key=lambda person: (person.visible > 0, person.motion))


def people_of(labelled: LabelledSet, rows: Sequence[int] | np.ndarray, view: str = WHOLE) -> People:
    """The main people of clips."""
    found = ((int(index), main_person(labelled, int(index), view)) for index in rows)
    return {index: person for index, person in found if person is not None}


def set_features(
    engine: Engine,
    labelled: LabelledSet,
    cache: Path,
    *,
    view: str = WHOLE,
    rows: np.ndarray | None = None,
    tick: Callable[[float], None] = lambda _: None,
) -> SetFeatures:
    """Features of clips of a set, from the cache or computed now and kept.

    Args:
        engine: On the backbone to judge.
        labelled: The set.
        cache: Folder; the key holds the backbone's hash and the code's.
        view: How the clips are seen; see ``views``.
        rows: Which clips, sorted; None for all.
        tick: Progress callback (share done).
    """
    rows = np.arange(len(labelled)) if rows is None else rows
    path, mark = _place(engine, labelled, cache, view, rows)
    saved = decode_checkpoint(path.read_bytes() if path.exists() else None, mark)
    if saved is not None:
        return SetFeatures(rows, saved["features"], saved["visible"].astype(bool), saved["enough"].astype(bool))
    result = _compute(engine, people_of(labelled, rows, view), rows, tick)
    _keep(path, encode_checkpoint(mark, features=result.features, visible=result.visible, enough=result.enough))
    return result


def frontal_people(engine: Engine, labelled: LabelledSet, people: People, cache: Path, view: str) -> People:
    """People as ``Engine.frontal`` gives them, from the cache or computed now and kept."""
    rows = np.array(sorted(people), dtype=np.int64)
    path, mark = _place(engine, labelled, cache, view, rows, "frontal")
    saved = decode_checkpoint(path.read_bytes() if path.exists() else None, mark)
    if saved is None:
        found = engine.frontal([people[int(index)] for index in rows], BATCH)
        parts = [np.concatenate((one.pose[..., :2], one.depth[..., None]), -1).astype(np.float16) for one in found]
        saved = {"points": np.concatenate(parts)}
        _keep(path, encode_checkpoint(mark, **saved))
    points = saved["points"].astype(np.float32)
    pose = np.concatenate((points[..., :2], np.ones_like(points[..., :1])), -1)
    starts = np.cumsum([0, *(len(people[int(index)].pose) for index in rows)])
    return {
        int(index): replace(people[int(index)], pose=pose[a:b], depth=points[a:b, ..., 2], has_depth=True)
        for index, a, b in zip(rows, starts[:-1], starts[1:], strict=True)
    }


def _place(
    engine: Engine, labelled: LabelledSet, cache: Path, view: str, rows: np.ndarray, kind: str = ""
) -> tuple[Path, str]:
    """Where something about some clips is kept, and the mark that it bears."""
    code = code_version(FEATURE_CODE, CODE)
    chosen = hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()[:16]
    mark = f"{labelled.name} {len(labelled)} {view} {chosen} {engine.backbone_sha256} {code}{kind}"
    return cache / f"{labelled.name}-{view}-{hashlib.sha256(mark.encode()).hexdigest()[:20]}.npz", mark


def _keep(path: Path, data: bytes) -> None:
    """Write a file whole; two evaluations may run at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.tmp")
    partial.write_bytes(data)
    partial.replace(path)


def _compute(engine: Engine, people: People, rows: np.ndarray, tick: Callable[[float], None]) -> SetFeatures:
    order = list(people)
    width = max(block.stop for block in engine.blocks.values())
    features = np.zeros((len(rows), width), dtype=np.float32)
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        features[np.searchsorted(rows, batch)] = engine.features([people[i] for i in batch], BATCH)
        tick((start + len(batch)) / len(order))
    known = [people.get(int(index)) for index in rows]
    enough = [one is not None and one.visible >= MIN_VISIBLE and one.frames >= MIN_FRAMES for one in known]
    return SetFeatures(rows, features, np.array([one is not None for one in known]), np.array(enough))
