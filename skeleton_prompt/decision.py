"""From a row's logits to the answer a user gets: calibrated probabilities, known or not, and why not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skeleton_prompt.bundle import Array, Prompt
from skeleton_prompt.normalise import Prepared

Floats = np.ndarray[Any, np.dtype[np.float64]]

MIN_VISIBLE = 0.4
MIN_FRAMES = 8


@dataclass(frozen=True)
class Prediction:
    """What is said about one person of a clip.

    Attributes:
        label: The most probable label, None where the clip is not known.
        known: Whether the answer may be relied on.
        confidence: Calibrated probability of the most probable label.
        predictions: The most probable labels with their probabilities, best first.
        reason: Why it is not known: ``too_little_visible``, ``background``, ``below_threshold`` or ``unlike_taught``.
    """

    label: str | None
    known: bool
    confidence: float
    predictions: tuple[tuple[str, float], ...]
    reason: str | None = None

    def document(self) -> dict[str, Any]:
        """The prediction as the API gives it."""
        result: dict[str, Any] = {
            "label": self.label,
            "known": self.known,
            "confidence": self.confidence,
            "predictions": [{"label": label, "probability": value} for label, value in self.predictions],
        }
        if self.reason is not None:
            result["reason"] = self.reason
        return result


def softmax(values: Floats) -> Floats:
    """Along the last axis, stable for any finite input."""
    shifted = np.exp(values - values.max(-1, keepdims=True))
    result: Floats = shifted / shifted.sum(-1, keepdims=True)
    return result


def nearest_distance(prompt: Prompt, logits: Array) -> float:
    """Distance in logit space to the nearest class centre, in units of that class's spread."""
    gaps = np.linalg.norm(prompt.tensors["linear.centres"] - logits[None], axis=1)
    return float((gaps / np.maximum(prompt.tensors["linear.spread"], 1e-6)).min())


def decide(
    person: Prepared, prompt: Prompt, logits: Array, *, top_k: int = 5, threshold: float | None = None
) -> Prediction:
    """Turn logits into a prediction.

    Args:
        person: The clip's person, for how much of it was seen.
        prompt: The prompt that made the logits.
        logits: ``(N,)``, the last one standing for background where the prompt has it.
        top_k: How many labels to give at the most.
        threshold: Least probability that counts as known, in place of the calibrated one.

    Returns:
        The prediction; its probabilities sum to 1 over all labels.
    """
    calibration = prompt.calibration
    everything = softmax(logits.astype(np.float64) / calibration.temperature)
    count = len(prompt.labels)
    among = everything[:count] / max(float(everything[:count].sum()), 1e-12)
    order = np.argsort(-among, kind="stable")[:top_k]
    best = int(order[0])
    confidence = float(among[best])
    limit = calibration.threshold if threshold is None else threshold
    reason = None
    if person.visible < MIN_VISIBLE or person.frames < MIN_FRAMES:
        reason = "too_little_visible"
    elif prompt.background and int(everything.argmax()) == count:
        reason = "background"
    elif confidence < limit:
        reason = "below_threshold"
    elif nearest_distance(prompt, logits) > calibration.distance:
        reason = "unlike_taught"
    label = prompt.labels[best] if reason is None else None
    ranked = tuple((prompt.labels[int(i)], float(among[i])) for i in order)
    return Prediction(label, reason is None, confidence, ranked, reason)
