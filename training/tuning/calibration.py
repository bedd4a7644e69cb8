"""From held-out logits to probabilities that mean what they say, and to limits of what counts as known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from skeleton_prompt.model.decision import familiarity_of, limit_at, softmax
from skeleton_prompt.model.prompt_file import Calibration

Floats = npt.NDArray[np.float64]

FALSE_REJECT = 0.05
BY_DISTANCE = 0.8  # of the false rejections; what is unlike anything taught shows there, not in the confidence
FALSE_ACCEPT = 0.05
MOST_UNLIKELY = 0.075  # of the right answers, that may be refused because a class never seen is likelier
SURE = 0.95  # confidence that is always enough: where all that is held out is told right, 1 % of it is refused at 1
MOST_REJECTED = 0.2  # of the taught, however much background looks like them
FEW_TO_CALIBRATE = 10
# The best temperature on other clips of one-clip lessons (UTD-MHAD, JHMDB, NW-UCLA, training sides, three draws each)
# was 1/1.8 to 1/2.8 of the spread of the taught clips' own logits: what stands in where nothing can be held out.
PRIOR_SHARPNESS = 2.2
PLDA_SHARPNESS = 3.5  # likewise for PLDA, 2.2 to 7.6
# Of the largest score over its expectation for a clip of a taught class, on which a limit is set; see decision 14.
CORPUS_LIMIT = 0.35
REFUSALS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)  # shares of right answers for which a prompt has a limit
COVERAGES = (0.5, 0.8, 0.9, 0.95, 0.99)  # of prediction sets
# A limit is a part of the quantile on held-out clips: people who were not taught score lower than held-out clips of
# those who were, and much lower than those of recordings that were taught too.
PART_WITH_GROUPS, PART_WITHOUT_GROUPS = 1 / 2, 1 / 4
FAR = 64  # times the largest logit, where the centres stand
FARTHEST = 2.0**15  # a power of two that float16 holds


def probabilities(logits: np.ndarray, temperature: float) -> Floats:
    """Softmax of ``(n, N)`` logits at a temperature."""
    return softmax(logits.astype(np.float64) / temperature).astype(np.float64)


def log_loss(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """Mean negative log-likelihood of the labels."""
    chosen = probabilities(logits, temperature)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, 1e-12)).mean())


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature of least log loss on held-out logits (Guo et al. 2017, section 4.2)."""
    spread = max(float(logits.std(1).mean()), 1e-6)
    found = minimize_scalar(
        lambda power: log_loss(logits, labels, spread * math.exp(power)), bounds=(-5.0, 3.0), method="bounded"
    )
    return spread * math.exp(float(found.x))


def prior_temperature(logits: np.ndarray, sharpness: float = PRIOR_SHARPNESS) -> float:
    """A temperature without any held-out clip, from the spread of the taught clips' own logits."""
    return max(float(logits.std(1).mean()), 1e-6) / sharpness


def confidences(probability: np.ndarray, labels: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """The most probable label of every clip and its probability among the labels, as an answer gives them."""
    among = probability[:, :labels] / np.maximum(probability[:, :labels].sum(1, keepdims=True), 1e-12)
    return among.argmax(1), among.max(1)


def class_centres(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Class centres whose distance says how much of any class a clip shows at all.

    The mean logits of a class are a poor measure of what is familiar: with few clips they are as far from clips of the
    class as from others (AUROC about 0.55 with three classes left out, where confidence has 0.77). The largest logit
    is a better one (Hendrycks et al. 2022, "MaxLogit"), and it is a distance as well: to centres far out on each axis,
    R·e, a clip's distance is R less its largest logit, up to |logits|² / 2R.

    Args:
        logits: ``(n, N)``.

    Returns:
        Centres ``(N, N)`` and spread ``(N,)``, exact in float16.
    """
    classes = logits.shape[1]
    far = min(2.0 ** math.ceil(math.log2(FAR * max(float(np.abs(logits).max()), 1e-3))), FARTHEST)
    return far * np.eye(classes), np.ones(classes)


def distances(logits: np.ndarray, centres: np.ndarray, spread: np.ndarray) -> Floats:
    """Distance of every clip to its nearest class centre in units of the class's spread, as an answer measures it."""
    gaps = np.linalg.norm(logits[:, None] - centres[None], axis=2) / np.maximum(spread, 1e-6)
    nearest: Floats = gaps.min(1)
    return nearest


def fit_limits(
    logits: np.ndarray,
    truth: np.ndarray,
    labels: int,
    temperature: float,
    centres: np.ndarray,
    spread: np.ndarray,
    *,
    ratios: bool = False,
) -> Calibration:
    """Threshold and distance at which 5 % of the clips that are told right would be refused, 1 % and 4 % by each.

    Where the largest logit is a likelihood ratio and a class never seen is likelier for more of them, so many, but no
    more than 7.5 %, are refused by distance: held-out clips are judged by fewer clips than those to come.

    Args:
        logits: ``(n, N)`` held out.
        truth: ``(n,)``; ``labels`` and above stands for background.
        labels: How many of the N classes are labels.
        temperature: Of these logits.
        centres: From ``class_centres``.
        spread: From ``class_centres``.
        ratios: Whether the largest logit is the log likelihood ratio of its class to a class never seen.

    Returns:
        The calibration. Background that is held out raises the threshold until no more than 5 % of it passes, but not
        so far that more than a fifth of what is taught is refused.
    """
    probability = probabilities(logits, temperature)
    best, confidence = confidences(probability, labels)
    right = best == truth
    if right.sum() < FEW_TO_CALIBRATE:
        return Calibration(temperature)
    threshold = min(float(np.quantile(confidence[right], FALSE_REJECT * (1 - BY_DISTANCE))), SURE)
    share = FALSE_REJECT * BY_DISTANCE
    if ratios:
        share = float(np.clip((logits[right].max(1) < 0).mean(), share, MOST_UNLIKELY))
    distance = float(np.quantile(distances(logits, centres, spread)[right], 1 - share))
    passing = confidence[(truth >= labels) & (probability.argmax(1) < labels)]
    background = int((truth >= labels).sum())
    if background and len(passing) > FALSE_ACCEPT * background:
        allowed = FALSE_ACCEPT * background / len(passing)
        wanted = float(np.quantile(passing, 1 - allowed)) + 1e-6
        threshold = max(threshold, min(wanted, float(np.quantile(confidence[right], MOST_REJECTED))))
    return Calibration(temperature, float(np.clip(threshold, 0, 1)), max(distance, 1e-3))


def fit_familiarity(
    logits: np.ndarray, truth: np.ndarray, labels: int, temperature: float, refusal: float, *, grouped: bool
) -> Calibration:
    """Limits of familiarity and of prediction sets for a prompt with a class model.

    Args:
        logits: ``(n, N)`` held out, their largest the familiarity without the confidence's part.
        truth: ``(n,)``; ``labels`` and above stands for background.
        labels: How many of the N classes are labels.
        temperature: Of these logits.
        refusal: Share of right answers that may be refused where a request names none.
        grouped: Whether no group was on both sides of a split.

    Returns:
        The calibration. Background that is held out raises the limits until no more than 5 % of it passes, but not so
        far that more than a fifth of what is taught is refused.
    """
    probability = probabilities(logits, temperature)
    best, confidence = confidences(probability, labels)
    familiarity = familiarity_of(logits.max(1), confidence)
    right = np.sort(familiarity[best == truth])
    if len(right) < FEW_TO_CALIBRATE:
        return corpus_calibration(temperature, refusal)
    part = PART_WITH_GROUPS if grouped else PART_WITHOUT_GROUPS
    limits = [_familiarity_limit(right, share, part) for share in REFUSALS]
    passing = familiarity[(truth >= labels) & (probability.argmax(1) < labels)]
    background = int((truth >= labels).sum())
    if background and len(passing) > FALSE_ACCEPT * background:
        wanted = float(np.quantile(passing, 1 - FALSE_ACCEPT * background / len(passing))) + 1e-6
        raised = min(wanted, float(np.quantile(right, MOST_REJECTED)))
        limits = [max(limit, raised) for limit in limits]
    own = np.sort(probability[truth < labels][np.arange(int((truth < labels).sum())), truth[truth < labels]])
    coverage = tuple((share, _conformal(own, 1 - share)) for share in COVERAGES)
    return Calibration(
        temperature, familiarity=tuple(zip(REFUSALS, limits, strict=True)), refusal=refusal, coverage=coverage
    )


def corpus_calibration(temperature: float, refusal: float) -> Calibration:
    """The calibration where too little could be held out to set limits by: those of the motion corpus."""
    return Calibration(temperature, familiarity=((0.0, CORPUS_LIMIT),), refusal=refusal)


def _familiarity_limit(right: np.ndarray, share: float, part: float) -> float:
    """The limit at which a share of right answers about people who were not taught is refused, about.

    Up to 5 % it is a part of that quantile of held-out answers, at most the corpus's limit; beyond, as much more as the
    quantiles differ.
    """
    usual = _conformal(right, min(share, FALSE_REJECT))
    limit = min(usual * part, usual if usual < 0 else math.inf, CORPUS_LIMIT)
    return limit + max(0.0, _conformal(right, share) - usual)


def _conformal(ordered: np.ndarray, share: float) -> float:
    """The ``floor(share (n + 1))``-th smallest of n ordered values, at least the first (Vovk et al. 2005)."""
    place = math.floor(share * (len(ordered) + 1) + 1e-9)
    return float(ordered[min(max(place, 1), len(ordered)) - 1])


@dataclass(frozen=True, eq=False)
class Known:
    """Which answers count as known.

    Attributes:
        known: ``(n,)`` bool, by the limits alone; how much of a clip is visible is not looked at.
        familiarity: ``(n,)``, what the limit of familiarity, or of distance, is compared with: the larger, the more
            familiar.
    """

    known: np.ndarray
    familiarity: np.ndarray


def judge_known(calibration: Calibration, tensors: Mapping[str, np.ndarray], logits: np.ndarray, labels: int) -> Known:
    """Apply a prompt's limits to logits ``(n, N)``, as ``decision.classify`` does it clip by clip."""
    probability = probabilities(logits, calibration.temperature)
    _, confidence = confidences(probability, labels)
    if calibration.familiarity:
        familiarity = familiarity_of(logits.max(1).astype(np.float64), confidence)
        known = familiarity >= limit_at(calibration.familiarity, calibration.refusal)
    else:
        familiarity = -distances(logits, tensors["linear.centres"], tensors["linear.spread"])
        known = familiarity >= -calibration.distance
    known = known & (confidence >= calibration.threshold) & (probability.argmax(1) < labels)
    return Known(known, familiarity)


def wilson_interval(right: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927); (0, 1) where nothing was counted."""
    if count == 0:
        return 0.0, 1.0
    share = right / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> dict[str, Any]:
    """Reliability curve and expected calibration error (Naeini et al. 2015) over equal-width bins."""
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    curve, error = [], 0.0
    for number in range(bins):
        mine = index == number
        if mine.any():
            said, was = float(confidence[mine].mean()), float(right[mine].mean())
            curve.append({"confidence": said, "accuracy": was, "clips": int(mine.sum())})
            error += abs(said - was) * float(mine.mean())
    return {"ece": error, "curve": curve}
