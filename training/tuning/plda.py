"""Probabilistic linear discriminant analysis on the house projection: which class, and whether any at all.

The two-covariance model (Ioffe 2006; Brümmer and de Villiers 2010): a clip is its class's centre plus what varies
within a class, both Gaussian. The motion corpus gives a prior of both variances in every direction of the projection;
the taught clips give the factor by which either differs among them and, in part, in which directions. The score of a
class is the log likelihood ratio of "a clip of this class" to "a clip of a class never seen", so that the largest score
detects unknown clips as well as it separates the classes.

Letters: n clips, R numbers per clip, N classes, K directions of the curve.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh
from sklearn.covariance import ledoit_wolf

from skeleton_prompt.clips.canonical_skeleton import JOINTS
from skeleton_prompt.model.class_model import ClassModel
from skeleton_prompt.model.engine import Engine
from training.tuning.linear_head import LinearHead

Floats = npt.NDArray[np.float64]

TAUGHT_SHARE = 0.4  # of the within-class covariance that is measured on the taught clips; the corpus has the rest
LEAST_BETWEEN = 0.1  # of the corpus's variance between classes, however alike the taught classes are
# How much more real clips of an action vary than views of a motion, where one clip per class measures nothing.
ONE_CLIP = 3.0
# A tenant's few clips show less of the variance within a class than clips of other people have: what is added, in units
# of the corpus's. Each missing joint adds as much again as PER_JOINT says, the less the more the tenant's clips vary.
OTHER_PEOPLE = 0.6
PER_JOINT, LEAST_TENANT_VARIANCE = 0.25, 0.75
CURVE = 16  # directions in which the part common to all classes is kept beside its diagonal
DIRECTIONS = 32  # likewise of the covariance within a class in a class model
LEAST_SCORE = 1e-3  # nats
LEAST_DIAGONAL = 0.05  # of the covariance's diagonal, that is left beside its directions


@dataclass(frozen=True, eq=False)
class Prior:
    """What the motion corpus says of the house projection.

    Attributes:
        within: ``(R,)`` variance within a class.
        between: ``(R,)`` variance between classes.
    """

    within: Floats
    between: Floats


def prior_of(engine: Engine) -> Prior | None:
    """What an engine's backbone says; None where it has no house weights, or older ones that do not say it."""
    house = engine.backbone.house
    if house is None or house.variances is None:
        return None
    within, between = house.variances.double().numpy()
    return Prior(within, between)


def fit_plda(x: np.ndarray, labels: np.ndarray, classes: int, prior: Prior) -> LinearHead:
    """The head for whole clips, scaled so that the score of a clip of a taught class is 1 on average.

    Args:
        x: ``(n, R)`` house projection.
        labels: ``(n,)``.
        classes: N.
        prior: Of the backbone.

    Returns:
        Weights, and the curve that is common to all classes; a class without a clip is never the most probable.
    """
    return _Statistics.of(x, labels, classes, prior).head(prior)[0]


def fit_class_model(
    x: np.ndarray, labels: np.ndarray, classes: int, prior: Prior, shown: np.ndarray | None = None
) -> ClassModel:
    """The statistics from which heads for clips that lack joints follow; see ``class_model``.

    Args:
        x: ``(n, R)`` house projection.
        labels: ``(n,)``.
        classes: N.
        prior: Of the backbone.
        shown: ``(n, J)``, the joints that each clip shows; None where that is unknown, and no joint then counts as
            missing.
    """
    fitted = _Statistics.of(x, labels, classes, prior)
    ratio = float(fitted.size.sum() / prior.within.sum())
    scale = 1 / np.sqrt(prior.within)
    diagonal, directions = _diagonal_and_directions(fitted.within * np.outer(scale, scale))
    return ClassModel(
        mean=fitted.mean,
        scale=scale,
        centres=fitted.centres * scale,
        counts=fitted.counts,
        within=diagonal,
        directions=directions,
        between=fitted.between * scale**2,
        widening=np.array([fitted.other_people, PER_JOINT / max(LEAST_TENANT_VARIANCE, ratio)]),
        unit=np.array([fitted.head(prior)[1]]),
        shown=np.zeros(JOINTS) if shown is None else shown.mean(0, dtype=np.float64),
    )


@dataclass(frozen=True, eq=False)
class _Statistics:
    """What is measured on a tenant's clips: see ``_within`` for ``within``, ``size`` and ``other_people``."""

    mean: Floats
    centres: Floats
    counts: Floats
    within: Floats
    size: Floats
    other_people: float
    between: Floats

    @classmethod
    def of(cls, x: np.ndarray, labels: np.ndarray, classes: int, prior: Prior) -> _Statistics:
        """Measure them on ``(n, R)``."""
        counts = np.bincount(labels, minlength=classes).astype(float)
        there = counts > 0
        mean = x.mean(0, dtype=np.float64)
        x = x - mean
        centres = np.eye(classes)[labels].T @ x / np.maximum(counts, 1)[:, None]
        typical = float(counts[there].mean())
        within, size, other_people = _within(x - centres[labels], int(len(x) - there.sum()), prior)
        between = prior.between
        if typical > 1:
            # Of the variance between the means of few clips a part is variance within.
            found = centres[there].var(0, ddof=1).sum() - np.trace(within) / typical
            between = prior.between * max(found / prior.between.sum(), LEAST_BETWEEN)
        return cls(mean, centres, counts, within, size, other_people, between)

    def head(self, prior: Prior) -> tuple[LinearHead, float]:
        """The head for whole clips, and the nats of its unit."""
        widened = self.within + self.other_people * np.diag(prior.within)
        head, unit = _head(widened, self.between, self.centres, self.counts, np.sqrt(self.size))
        return replace(head, mean=self.mean), unit


def _head(within: Floats, between: Floats, centres: Floats, counts: Floats, size: Floats) -> tuple[LinearHead, float]:
    """The head of centred clips in units of the mean score of a clip of a taught class, and that score in nats."""
    there = counts > 0
    typical = float(counts[there].mean())
    # One basis in which the variance within is 1 and that between is the gain.
    gain, basis = eigh(np.diag(between), within)
    gain = np.maximum(gain, 0)
    belief = np.where(there[:, None], counts[:, None] * gain / (counts[:, None] * gain + 1), 0)
    spread = 1 + gain / (typical * gain + 1)
    expected = belief * (centres @ basis)
    weight = (expected / spread) @ basis.T
    ratio = -0.5 * (np.log(spread) - np.log(1 + gain)).sum()
    bias = ratio - 0.5 * (expected**2 / spread).sum(1)
    mean_score = (spread / (1 + gain)).sum() + (expected[there] ** 2 / (1 + gain)).sum(1).mean() - len(gain)
    unit = max(float(ratio + 0.5 * mean_score), LEAST_SCORE)
    bias = np.where(there, bias, bias[there].min() - abs(ratio) - unit)
    curve = (basis * (1 / spread - 1 / (1 + gain))) @ basis.T
    square, directions, bend = _reduced(curve * np.outer(size, size))
    scaled = weight * size / unit
    return LinearHead(np.zeros_like(size), 1 / size, scaled, bias / unit, square / unit, directions, bend / unit), unit


def _within(residual: Floats, freedom: int, prior: Prior) -> tuple[Floats, Floats, float]:
    """Covariance within a class of the tenant's clips, and what other people add.

    Returns:
        The covariance ``(R, R)``, a typical variance in every direction ``(R,)``, and the addition.
    """
    if freedom < 1:
        size = ONE_CLIP * prior.within
        return np.diag(size), size, 0.0
    measured, _ = ledoit_wolf(residual * np.sqrt(len(residual) / freedom), assume_centered=True)
    size = prior.within * max(float(np.trace(measured) / prior.within.sum()), 1e-6)
    return (1 - TAUGHT_SHARE) * np.diag(size) + TAUGHT_SHARE * measured, size, OTHER_PEOPLE


def _diagonal_and_directions(covariance: Floats) -> tuple[Floats, Floats]:
    """A covariance as a diagonal ``(R,)`` and the directions ``(K, R)`` in which it is more than that."""
    diagonal = np.diag(covariance)
    values, vectors = np.linalg.eigh(covariance - np.diag(diagonal))
    most = np.argsort(-values)[:DIRECTIONS]
    most = most[values[most] > 1e-9 * diagonal.max()]
    directions = (vectors[:, most] * np.sqrt(values[most])).T
    return np.maximum(diagonal - (directions**2).sum(0), LEAST_DIAGONAL * diagonal), directions


def _reduced(curve: Floats) -> tuple[Floats, Floats, Floats]:
    """A symmetric matrix as a diagonal ``(R,)`` and directions ``(K, R)`` with their signs ``(K,)``."""
    values, vectors = np.linalg.eigh(curve - np.diag(np.diag(curve)))
    most = np.argsort(-np.abs(values))[:CURVE]
    directions = (vectors[:, most] * np.sqrt(np.abs(values[most]))).T
    bend = np.sign(values[most])
    square = np.diag(curve) - (bend[:, None] * directions**2).sum(0)
    return square, directions, bend
