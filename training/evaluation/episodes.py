"""One lesson: drawn, taught once, and asked about every view that its cells name."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from training.datasets import LabelledSet, draw_shots
from training.evaluation.config import OURS
from training.evaluation.data import EvaluationData
from training.evaluation.experiments import EpisodeKey, Experiment
from training.evaluation.methods import Taught, teach
from training.evaluation.scores import accuracy, calibration, confusion, open_set


def draw_episode(material: EvaluationData, key: EpisodeKey) -> tuple[np.ndarray, np.ndarray]:
    """The clips that are taught, and the classes that are left out of teaching.

    Returns:
        Sorted indices of clips that show something, and class indices.
    """
    labelled = material.labelled(key.set, key.split)
    candidates = material.features(key.set, key.split, key.taught).visible_clips(labelled.train_indices)
    left_out = np.zeros(0, dtype=np.int64)
    if key.left_out:
        classes = np.unique(labelled.labels[candidates])
        most = min(key.left_out, len(classes) - 2)
        left_out = np.sort(np.random.default_rng([key.seed, key.left_out]).permutation(classes)[:most])
        candidates = candidates[~np.isin(labelled.labels[candidates], left_out)]
    return draw_shots(labelled.labels, candidates, key.shots, key.seed), left_out


def run_episode(material: EvaluationData, cells: Sequence[Experiment]) -> list[dict[str, Any]]:
    """Teach what the cells share and measure each.

    Args:
        material: Of this process.
        cells: Of one lesson.

    Returns:
        The line of every cell, in order.
    """
    key = cells[0].lesson
    labelled = material.labelled(key.set, key.split)
    drawn, left_out = draw_episode(material, key)
    began = time.monotonic()
    taught = teach(material, key, drawn)
    shared = {"clips_taught": len(drawn), "teach_seconds": round(time.monotonic() - began, 3), **taught.facts}
    lines = []
    for cell in cells:
        figures = measure(material, labelled, cell, taught, left_out)
        line = {"key": cell.key(material.engine.backbone_sha256), **cell.document(), **shared, **figures}
        lines.append(line | {"backbone_sha256": material.engine.backbone_sha256})
    return lines


def measure(
    material: EvaluationData, labelled: LabelledSet, cell: Experiment, taught: Taught, left_out: np.ndarray
) -> dict[str, Any]:
    """The figures of one cell, over the whole test side."""
    test = labelled.test_indices
    shown = material.features(cell.lesson.set, cell.lesson.split, cell.asked).visible_clips(test)
    answers, truth = taught.answers(cell.asked, shown), labelled.labels[shown]
    if cell.protocol == "open-set":
        return open_set(answers, ~np.isin(truth, left_out)) | {"left_out_classes": left_out.tolist()}
    figures = accuracy(answers, truth, len(test))
    if cell.protocol == "calibration":
        figures |= calibration(answers, truth)
    if cell.protocol == "few-shot" and cell.lesson.method == OURS:
        figures["confusion"] = confusion(answers, truth, len(labelled.label_names))
    return figures
