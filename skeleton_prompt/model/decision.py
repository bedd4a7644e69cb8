"""From a row's logits to the answer that a user gets: calibrated probabilities, known or not, and why not."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:  # an exported model decides without the files and the engine of prompts
    from skeleton_prompt.clips.normalise import PreparedPerson
    from skeleton_prompt.model.prompt_file import Array, Pairs, Prompt

Floats = np.ndarray[Any, np.dtype[np.float64]]

MIN_VISIBLE, MIN_FRAMES = 0.15, 5
MIN_VISIBLE_WITHOUT_CLASS_MODEL, MIN_FRAMES_WITHOUT_CLASS_MODEL = 0.4, 8
CONFIDENCE_WEIGHT = 0.1  # of the confidence's log odds in the familiarity
UNSURE = 0.6  # confidence below which an explanation names the two most probable labels
MIN_DOUBT = 1e-4  # confidences are taken as at most 1 less this where their log odds are wanted


@dataclass(frozen=True)
class Prediction:
    """The answer for one person of a clip.

    Attributes:
        label: The most probable label, None where the clip is not known.
        known: Whether the answer may be relied on.
        confidence: Calibrated probability of the most probable label.
        predictions: The most probable labels with their probabilities, best first.
        reason: Why it is not known: ``too_little_visible``, ``background``, ``below_threshold`` or ``unlike_taught``.
        margin: Probability of the most probable label less that of the next.
        familiarity: How much the clip is like the taught ones: about 1 for a clip of a taught label. None for a prompt
            without a class model.
        limits: What the answer was held to, by name.
        explanation: The reason in words.
        label_set: Labels that together hold the right one with the probability ``coverage``; None where not asked for.
        coverage: Nominal coverage of ``label_set``.
    """

    label: str | None
    known: bool
    confidence: float
    predictions: tuple[tuple[str, float], ...]
    reason: str | None = None
    margin: float = 0.0
    familiarity: float | None = None
    limits: dict[str, float] = field(default_factory=dict)
    explanation: str | None = None
    label_set: tuple[str, ...] | None = None
    coverage: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The prediction as the API gives it."""
        result: dict[str, Any] = {
            "label": self.label,
            "known": self.known,
            "confidence": self.confidence,
            "margin": self.margin,
            "familiarity": self.familiarity,
            "predictions": [{"label": label, "probability": value} for label, value in self.predictions],
            "limits": self.limits,
        }
        if self.reason is not None:
            result |= {"reason": self.reason, "explanation": self.explanation}
        if self.label_set is not None:
            result["set"] = {"labels": list(self.label_set), "coverage": self.coverage}
        return result


@dataclass(frozen=True)
class DecisionOptions:
    """What a request may change about a decision.

    Attributes:
        top_k: How many labels to list at the most.
        threshold: Least probability that counts as known. It moves every other limit with it: 0 accepts every answer.
        refusal: Share of right answers that may be refused, in place of the prompt's.
        coverage: Nominal coverage of a prediction set to give.
    """

    top_k: int = 5
    threshold: float | None = None
    refusal: float | None = None
    coverage: float | None = None


def softmax(values: Floats) -> Floats:
    """Along the last axis, stable for any finite input."""
    shifted = np.exp(values - values.max(-1, keepdims=True))
    result: Floats = shifted / shifted.sum(-1, keepdims=True)
    return result


def familiarity_of(largest: Any, confidence: Any) -> Any:
    """Familiarity from the largest logit of a prompt with a class model and the confidence; numbers or arrays."""
    sure = np.clip(confidence, MIN_DOUBT, 1 - MIN_DOUBT)
    return largest + CONFIDENCE_WEIGHT * np.log(sure / (1 - sure))


def limit_at(pairs: Pairs, share: float) -> float:
    """The limit for a share between those of ascending pairs (share, limit)."""
    shares, limits = zip(*pairs, strict=True)
    return float(np.interp(share, shares, limits))


def nearest_distance(prompt: Prompt, logits: Array) -> float:
    """Distance in logit space to the nearest class centre, in units of that class's spread."""
    gaps = np.linalg.norm(prompt.tensors["linear.centres"] - logits[None], axis=1)
    return float((gaps / np.maximum(prompt.tensors["linear.spread"], 1e-6)).min())


class LabelSpace(Protocol):
    """What was taught: a prompt, or the metadata of an exported one."""

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of the logits."""

    @property
    def background(self) -> bool:
        """Whether a last logit stands for none of them."""


class Calibration(Protocol):
    """See ``prompt_file.Calibration``."""

    @property
    def temperature(self) -> float:
        """Divides the logits."""

    @property
    def threshold(self) -> float:
        """Least probability that counts as known."""

    @property
    def distance(self) -> float:
        """Greatest distance to a class that counts as known."""

    @property
    def familiarity(self) -> Pairs:
        """Least familiarity that counts as known, by the share of right answers that may be refused."""

    @property
    def refusal(self) -> float:
        """The share that holds where a request names none."""

    @property
    def coverage(self) -> Pairs:
        """Least probability of a label in a prediction set, by its nominal coverage."""


class Visibility(Protocol):
    """How much of a person was seen: ``normalise.PreparedPerson``, or the outputs of an exported model."""

    @property
    def visible(self) -> float:
        """Share of the joints."""

    @property
    def frames(self) -> int:
        """Frames that show the person."""


def decide(person: PreparedPerson, prompt: Prompt, logits: Array, options: DecisionOptions) -> Prediction:
    """Turn the logits of a prompt into a prediction; see ``classify``."""
    from skeleton_prompt.model.class_model import missing_joints_of

    distance = lambda: nearest_distance(prompt, logits)  # noqa: E731 - needed only where nothing else decides
    missing = missing_joints_of(prompt, person)
    return classify(prompt, prompt.calibration, person, logits, distance, options, missing=missing)


def classify(
    taught: LabelSpace,
    calibration: Calibration,
    person: Visibility,
    logits: Array,
    distance: Callable[[], float],
    options: DecisionOptions,
    *,
    missing: int = 0,
) -> Prediction:
    """Turn logits into a prediction.

    Args:
        taught: The labels.
        calibration: Temperature and what counts as known.
        person: How much of the clip's person was seen.
        logits: ``(N,)``, the last one standing for background where that was taught.
        distance: Gives the distance to the nearest class, in units of its spread; not called where ``calibration`` has
            limits of familiarity.
        options: Of the request.
        missing: Joints that the clip lacks and the taught clips show, for the explanation.

    Returns:
        The prediction; its probabilities sum to 1 over all labels.
    """
    everything = softmax(logits.astype(np.float64) / calibration.temperature)
    count = len(taught.labels)
    among = everything[:count] / max(float(everything[:count].sum()), 1e-12)
    order = np.argsort(-among, kind="stable")
    ranked = tuple((taught.labels[int(i)], float(among[i])) for i in order[: max(2, options.top_k)])
    background = float(everything[count] / max(float(everything[:count].max()), 1e-300)) if taught.background else 0.0
    evidence = _Evidence(person.visible, person.frames, background, ranked[0][1], missing)
    familiarity = None
    if calibration.familiarity:
        familiarity = float(familiarity_of(float(logits.max()), ranked[0][1]))
        limits = _limits(calibration, options)
        reason = _reason(evidence, limits, lambda: familiarity < limits["familiarity"])
    else:
        limits = _limits_without_class_model(calibration, options)
        reason = _reason(evidence, limits, lambda: distance() > calibration.distance)
    labels = None
    if options.coverage is not None:
        labels = tuple(taught.labels[i] for i in _label_set(calibration.coverage, among, order, options.coverage))
    return Prediction(
        label=ranked[0][0] if reason is None else None,
        known=reason is None,
        confidence=ranked[0][1],
        predictions=ranked[: options.top_k],
        reason=reason,
        margin=ranked[0][1] - (ranked[1][1] if len(ranked) > 1 else 0.0),
        familiarity=familiarity,
        limits={name: value for name, value in limits.items() if name != "background"},
        explanation=_explanation(reason, evidence, limits, ranked) if reason else None,
        label_set=labels,
        coverage=options.coverage,
    )


@dataclass(frozen=True)
class _Evidence:
    """What limits are compared with: see ``Visibility``; odds of background over the best label; the confidence."""

    visible: float
    frames: int
    background: float
    confidence: float
    missing: int


def _limits(calibration: Calibration, options: DecisionOptions) -> dict[str, float]:
    """Limits of a prompt with a class model. A threshold of 0.5 leaves them as they are, 0 removes all of them."""
    refusal = calibration.refusal if options.refusal is None else options.refusal
    least = limit_at(calibration.familiarity, refusal)
    limits = {"visible": MIN_VISIBLE, "frames": float(MIN_FRAMES), "background": 1.0, "refusal": refusal}
    if options.threshold is None:
        return limits | {"confidence": calibration.threshold, "familiarity": least}
    odds = options.threshold / max(1 - options.threshold, 1e-9)
    eased = min(1.0, odds)
    limits |= {"visible": MIN_VISIBLE * eased, "frames": MIN_FRAMES * eased, "background": 1 / max(odds, 1e-9)}
    moved = least + CONFIDENCE_WEIGHT * math.log(max(odds, 1e-9)) if odds else -1e9
    return limits | {"confidence": options.threshold, "familiarity": moved}


def _limits_without_class_model(calibration: Calibration, options: DecisionOptions) -> dict[str, float]:
    """Limits of a prompt of an earlier release, or of a backbone without variances."""
    least = calibration.threshold if options.threshold is None else options.threshold
    visible, frames = MIN_VISIBLE_WITHOUT_CLASS_MODEL, MIN_FRAMES_WITHOUT_CLASS_MODEL
    return {"visible": visible, "frames": float(frames), "background": 1.0, "confidence": least}


def _reason(evidence: _Evidence, limits: dict[str, float], unfamiliar: Callable[[], bool]) -> str | None:
    """The first limit that an answer does not meet, or None."""
    if evidence.visible < limits["visible"] or evidence.frames < limits["frames"]:
        return "too_little_visible"
    if evidence.background > limits["background"]:
        return "background"
    if evidence.confidence < limits["confidence"]:
        return "below_threshold"
    return "unlike_taught" if unfamiliar() else None


def _explanation(
    reason: str, evidence: _Evidence, limits: dict[str, float], ranked: tuple[tuple[str, float], ...]
) -> str:
    """The reason in words."""
    if reason == "too_little_visible":
        if evidence.frames < limits["frames"]:
            return f"{evidence.frames} frames show the person, at least {math.ceil(limits['frames'])} are needed"
        return f"{evidence.visible:.0%} of the joints are visible, at least {limits['visible']:.0%} are needed"
    if reason == "background":
        return "like the clips taught as background"
    best, *others = (label for label, _ in ranked)
    if evidence.missing:
        noun = "joint is" if evidence.missing == 1 else "joints are"
        words = f"{evidence.missing} {noun} missing that your clips show"
    else:
        words = "" if reason == "below_threshold" else "unlike every taught label"
    between = others and (reason == "below_threshold" or ranked[0][1] < UNSURE)
    if between:
        return f"{words}{'; ' if words else ''}between {best} and {others[0]}"
    return f"{words}{'; ' if words else ''}the closest label is {best}"


def _label_set(pairs: Pairs, among: Floats, order: Any, coverage: float) -> list[int]:
    """Labels of a prediction set by split conformal prediction (Sadinle et al. 2019); never empty.

    Without held-out clips the most probable labels until their probabilities sum to the coverage.
    """
    ranked = [int(i) for i in order]
    if pairs:
        least = limit_at(pairs, coverage)
        return [i for i in ranked if among[i] >= least] or ranked[:1]
    enough = int(np.searchsorted(np.cumsum(among[order]), min(coverage, 1.0) - 1e-9)) + 1
    return ranked[:enough]
