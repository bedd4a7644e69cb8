"""Metrics of predictions: accuracy, calibration and open-set detection.

Letters: n clips asked about that show anything, N classes of the set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from training.tuning.calibration import reliability

BINS = 15
CHANCE_DRAWS = 200
CHANCE_DRAWS = 200


@dataclass(frozen=True, eq=False)
class Answers:
    """What a taught method says about clips.

    Attributes:
        predicted: ``(n,)`` most probable class of the set.
        probability: ``(n, N)``; classes that were not taught have 0.
        familiar: ``(n,)`` the larger, the more the clip is like what was taught; what rejection goes by.
        known: ``(n,)`` bool, whether the answer stands by the method's own limits; None where it has none.
        parts: Other scores ``(n,)`` that ``familiar`` is made of.
    """

    predicted: np.ndarray
    probability: np.ndarray
    familiar: np.ndarray
    known: np.ndarray | None
    parts: dict[str, np.ndarray]

    @property
    def confidence(self) -> np.ndarray:
        """``(n,)`` probability of the predicted class."""
        values: np.ndarray = self.probability[np.arange(len(self.predicted)), self.predicted]
        return values


def accuracy(answers: Answers, truth: np.ndarray, asked: int) -> dict[str, Any]:
    """Accuracy over all the clips asked about; one that shows nothing is in ``asked`` alone and counts as wrong."""
    right = answers.predicted == truth
    figures: dict[str, Any] = {"accuracy": float(right.sum() / asked), "clips_asked": asked}
    if answers.known is not None:
        known = answers.known
        figures["known"] = float(known.sum() / asked)
        figures["accuracy_if_known"] = float(right[known].mean()) if known.any() else None
    return figures


def confusion(answers: Answers, truth: np.ndarray, classes: int) -> list[list[int]]:
    """Confusion matrix ``(N, N)``: true class by predicted class."""
    table = np.zeros((classes, classes), dtype=int)
    np.add.at(table, (truth, answers.predicted), 1)
    rows: list[list[int]] = table.tolist()
    return rows


def calibration(answers: Answers, truth: np.ndarray) -> dict[str, Any]:
    """Expected calibration error over 15 bins of equal width with its curve, and the Brier score over all classes.

    Bins of few clips never look calibrated: ``ece_by_chance`` is the mean error of answers of the same confidences that
    are right exactly as often as they say.
    """
    found = reliability(answers.confidence, answers.predicted == truth, BINS)
    goal = np.eye(answers.probability.shape[1])[truth]
    brier = float(np.square(answers.probability - goal).sum(1).mean())
    draws = np.random.default_rng(0).random((CHANCE_DRAWS, len(truth))) < answers.confidence
    chance = float(np.mean([reliability(answers.confidence, right, BINS)["ece"] for right in draws]))
    return {"ece": found["ece"], "ece_by_chance": chance, "curve": found["curve"], "brier": brier}


def open_set(answers: Answers, taught: np.ndarray) -> dict[str, Any]:
    """Open-set detection: how well clips of classes that were left out are separated from the others.

    Args:
        answers: About clips of both kinds.
        taught: ``(n,)`` bool, whether the clip's class was taught.
    """
    figures: dict[str, Any] = {"auroc": float(roc_auc_score(taught, answers.familiar))}
    for name, score in answers.parts.items():
        figures[f"auroc_{name}"] = float(roc_auc_score(taught, score))
    if answers.known is not None:
        figures["wrongly_refused"] = float((~answers.known[taught]).mean())
        figures["wrongly_accepted"] = float(answers.known[~taught].mean())
    return figures
