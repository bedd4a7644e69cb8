"""From a row's logits to the answer a user gets: calibrated probabilities, known or not, and why not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:  # an exported model decides without the files and the engine of prompts
    from skeleton_prompt.clips.normalise import PreparedPerson
    from skeleton_prompt.model.prompt_file import Array, Prompt

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

    def to_dict(self) -> dict[str, Any]:
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


class LabelSpace(Protocol):
    """What was taught: a prompt, or the card of an exported one."""

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of the logits."""

    @property
    def background(self) -> bool:
        """Whether a last logit stands for none of them."""


class Calibration(Protocol):
    """See ``bundle.Calibration``."""

    @property
    def temperature(self) -> float:
        """Divides the logits."""

    @property
    def threshold(self) -> float:
        """Least probability that counts as known."""

    @property
    def distance(self) -> float:
        """Greatest distance to a class that counts as known."""


class Visibility(Protocol):
    """How much of a person was seen: ``normalise.PreparedPerson``, or what an exported model says of it."""

    @property
    def visible(self) -> float:
        """Share of the joints."""

    @property
    def frames(self) -> int:
        """Frames that show the person."""


def decide(
    person: PreparedPerson, prompt: Prompt, logits: Array, *, top_k: int = 5, threshold: float | None = None
) -> Prediction:
    """Turn the logits of a prompt into a prediction; see ``classify``."""
    distance = lambda: nearest_distance(prompt, logits)  # noqa: E731 - needed only where nothing else decides
    return classify(prompt, prompt.calibration, person, logits, distance, top_k=top_k, threshold=threshold)


def classify(
    taught: LabelSpace,
    limits: Calibration,
    person: Visibility,
    logits: Array,
    distance: Callable[[], float],
    *,
    top_k: int = 5,
    threshold: float | None = None,
) -> Prediction:
    """Turn logits into a prediction.

    Args:
        taught: The labels.
        limits: Temperature and what counts as known.
        person: How much of the clip's person was seen.
        logits: ``(N,)``, the last one standing for background where that was taught.
        distance: Gives the distance to the nearest class, in units of its spread.
        top_k: How many labels to give at the most.
        threshold: Least probability that counts as known, in place of the calibrated one.

    Returns:
        The prediction; its probabilities sum to 1 over all labels.
    """
    everything = softmax(logits.astype(np.float64) / limits.temperature)
    count = len(taught.labels)
    among = everything[:count] / max(float(everything[:count].sum()), 1e-12)
    order = np.argsort(-among, kind="stable")[:top_k]
    best = int(order[0])
    confidence = float(among[best])
    least = limits.threshold if threshold is None else threshold
    reason = None
    if person.visible < MIN_VISIBLE or person.frames < MIN_FRAMES:
        reason = "too_little_visible"
    elif taught.background and int(everything.argmax()) == count:
        reason = "background"
    elif confidence < least:
        reason = "below_threshold"
    elif distance() > limits.distance:
        reason = "unlike_taught"
    label = taught.labels[best] if reason is None else None
    ranked = tuple((taught.labels[int(i)], float(among[i])) for i in order)
    return Prediction(label, reason is None, confidence, ranked, reason)
