"""Few-shot accuracy on labelled sets: what a tenant with k clips per class gets, and what simpler means would give.

Clips are drawn from the training side of a set by seed and taught exactly as a tuning job teaches them; the whole test
side is then predicted. No choice looks at the test side, which is only counted.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch

from skeleton_prompt.engine import Engine
from training.baselines.random_weights import random_engine
from training.calibrate import confidences, probabilities, reliability
from training.choice import BASELINE_BLOCKS, FROZEN
from training.datasets import LabelledSet, draw_shots, read_set
from training.feature_cache import SetFeatures, default_cache, set_features
from training.heads import linear_logits
from training.tune import Lesson, Outcome, TuneConfig, tune

Tick = Callable[[float, str], None]

OURS = "Skeleton-Prompt"
DESCRIPTORS = "ridge on stream descriptors"
LINEAR = "ridge on the frozen backbone"
RANDOM = "ridge on random frozen weights"
METHODS = (OURS, DESCRIPTORS, LINEAR, RANDOM)


@dataclass(frozen=True)
class EvaluationConfig:
    """What to evaluate.

    Attributes:
        folder: Of the labelled sets; None takes the environment's.
        sets: Names of sets.
        shots: Clips per class; None for all of the training side.
        seeds: Of the draws; all clips are drawn once.
        backbone: Name or path.
        cache: Folder of features, None for the user's cache.
    """

    folder: Path | None
    sets: tuple[str, ...]
    shots: tuple[int | None, ...]
    seeds: tuple[int, ...]
    backbone: str = "edge"
    cache: Path | None = None


def parse_shots(word: str) -> int | None:
    """``5`` or ``all``.

    Raises:
        ValueError: For anything else.
    """
    if word.strip() == "all":
        return None
    shots = int(word)
    if shots < 1:
        raise ValueError(f"shots must be at least 1 or all, not {word}")
    return shots


def evaluate(config: EvaluationConfig, tick: Tick) -> dict[str, Any]:
    """Run the evaluation.

    Args:
        config: What.
        tick: Told the share done and a message.

    Returns:
        A JSON document: ``rows``, one for each set, shots, seed and method, and ``summary``, their means.

    Raises:
        DatasetMissing: If a set is not there.
    """
    cache = config.cache or default_cache()
    engine = Engine.load(config.backbone)
    unlearnt = random_engine(engine)
    rows: list[dict[str, Any]] = []
    sets: list[dict[str, Any]] = []
    for number, name in enumerate(config.sets):
        labelled = read_set(name, config.folder)

        def show(share: float, message: str, number: int = number, name: str = name) -> None:
            tick((number + share) / len(config.sets), f"{name}: {message}")

        learnt = set_features(engine, labelled, cache, lambda share, show=show: show(0.4 * share, "features"))  # type: ignore[misc]
        plain = set_features(unlearnt, labelled, cache, lambda share, show=show: show(0.4 + 0.3 * share, "random"))  # type: ignore[misc]
        draws = _draws(config)
        for index, (shots, seed) in enumerate(draws):
            show(0.7 + 0.3 * index / len(draws), f"{shots or 'all'} shots, seed {seed}")
            rows += _one_draw(labelled, engine, learnt, plain, shots, seed)
        sets.append(
            {
                "set": name,
                "classes": len(labelled.label_names),
                "train": len(labelled.train_indices),
                "test": len(labelled.test_indices),
                "split": labelled.form.split,
                "nothing_visible": int((~learnt.visible).sum()),
            }
        )
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} torch threads",
        "backbone": config.backbone,
        "backbone_sha256": engine.backbone_sha256,
        "sets": sets,
        "rows": rows,
        "summary": summarise(rows),
    }


def _draws(config: EvaluationConfig) -> list[tuple[int | None, int]]:
    return [(shots, seed) for shots in config.shots for seed in (config.seeds if shots else config.seeds[:1])]


def _one_draw(
    labelled: LabelledSet, engine: Engine, learnt: SetFeatures, plain: SetFeatures, shots: int | None, seed: int
) -> list[dict[str, Any]]:
    drawn = draw_shots(labelled.labels, labelled.train_indices[learnt.visible[labelled.train_indices]], shots, seed)
    tried: dict[str, tuple[SetFeatures, Sequence[str]]] = {
        OURS: (learnt, tuple(engine.blocks)),
        DESCRIPTORS: (learnt, BASELINE_BLOCKS),
        LINEAR: (learnt, FROZEN),
        RANDOM: (plain, FROZEN),
    }
    rows = []
    for method, (source, blocks) in tried.items():
        lesson = lesson_of(labelled, source.features, {name: engine.blocks[name] for name in blocks}, drawn)
        began = time.monotonic()
        kinds = None if method == OURS else ("ridge",)
        outcome = tune(lesson, TuneConfig(seed=seed, kinds=kinds), lambda *_: None)
        seconds = time.monotonic() - began
        row = {"set": labelled.name, "shots": shots, "seed": seed, "method": method, "taught": len(drawn)}
        rows.append(row | score(labelled, source, lesson, outcome) | {"tune_seconds": round(seconds, 2)})
    return rows


def lesson_of(labelled: LabelledSet, features: np.ndarray, blocks: dict[str, slice], drawn: np.ndarray) -> Lesson:
    """What a tenant who sent the drawn clips teaches."""
    return Lesson(
        features=features[drawn],
        blocks=blocks,
        labels=tuple(labelled.label_names[label] for label in labelled.labels[drawn]),
        groups=tuple(labelled.groups[i] if labelled.groups else None for i in drawn),
        ids=tuple(labelled.names[i] for i in drawn),
    )


def score(labelled: LabelledSet, source: SetFeatures, lesson: Lesson, outcome: Outcome) -> dict[str, Any]:
    """Accuracy and calibration on the whole test side; a clip that shows nothing counts as told wrong."""
    test = labelled.test_indices
    asked = test[source.visible[test]]
    columns = np.concatenate(
        [source.features[asked][:, lesson.blocks[name]] for name in outcome.choice.chosen.blocks], 1
    )
    logits = linear_logits(outcome.tensors, columns)
    best, confidence = confidences(probabilities(logits, outcome.calibration.temperature), len(lesson.names))
    told = np.array([lesson.names[index] for index in best])
    right = told == np.array([labelled.label_names[label] for label in labelled.labels[asked]])
    known = confidence >= outcome.calibration.threshold
    return {
        "accuracy": float(right.sum() / len(test)),
        "expected": outcome.judged.accuracy if outcome.judged else None,
        "ece": float(reliability(confidence, right)["ece"]),
        "known": float(known.mean()),
        "accuracy_if_known": float(right[known].mean()) if known.any() else None,
        "chosen": outcome.choice.chosen.name,
        "strength": outcome.choice.chosen.strength or None,
    }


def summarise(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and deviation over the seeds of every set, shots and method."""
    keys = dict.fromkeys((row["set"], row["shots"], row["method"]) for row in rows)
    summary = []
    for name, shots, method in keys:
        mine = [row for row in rows if (row["set"], row["shots"], row["method"]) == (name, shots, method)]
        values = np.array([row["accuracy"] for row in mine])
        summary.append(
            {
                "set": name,
                "shots": shots,
                "method": method,
                "accuracy": float(values.mean()),
                "deviation": float(values.std()),
                "ece": float(np.mean([row["ece"] for row in mine])),
                "tune_seconds": float(np.mean([row["tune_seconds"] for row in mine])),
                "draws": len(mine),
            }
        )
    return summary
