"""Probabilistic linear discriminant analysis on the house projection: which class, and whether any at all.

The two-covariance model (Ioffe 2006; Brümmer and de Villiers 2010): a clip is its class's centre plus what varies
within a class, both Gaussian. The motion corpus says beforehand how large either is in every direction of the
projection; the taught clips say how much larger both are among them, and in part in which directions. The score of a
class is the log likelihood ratio of "a clip of this class" to "a clip of a class never seen", so that the largest score
tells an unknown clip as well as it tells the classes apart.

Letters: n clips, R numbers per clip, N classes, K directions of the curve.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh
from sklearn.covariance import ledoit_wolf

from skeleton_prompt.model.engine import Engine
from training.tuning.linear_head import LinearHead

Floats = npt.NDArray[np.float64]

TAUGHT_SHARE = 0.4  # of the within-class covariance that is measured on the taught clips; the corpus has the rest
LEAST_BETWEEN = 0.1  # of the corpus's variance between classes, however alike the taught classes are
ONE_CLIP = (
    3.0  # how much more real clips of an action vary than views of a motion, where one clip per class tells nothing
)
CURVE = 16  # directions in which the part common to all classes is kept beside its diagonal


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
    """The head of the clips, scaled so that its logits on them spread by 1.

    Args:
        x: ``(n, R)`` house projection.
        labels: ``(n,)``.
        classes: N.
        prior: Of the backbone.

    Returns:
        Weights, and the curve that is common to all classes; a class without a clip is never the most probable.
    """
    counts = np.bincount(labels, minlength=classes).astype(float)
    there = counts > 0
    mean = x.mean(0, dtype=np.float64)
    x = x - mean
    centres = np.eye(classes)[labels].T @ x / np.maximum(counts, 1)[:, None]
    typical = float(counts[there].mean())
    within, size = _within(x - centres[labels], int(len(x) - there.sum()), prior)
    between = prior.between
    if typical > 1:
        # Of the variance between the means of few clips a part is variance within.
        found = centres[there].var(0, ddof=1).sum() - np.trace(within) / typical
        between = prior.between * max(found / prior.between.sum(), LEAST_BETWEEN)
    # One basis in which the variance within is 1 and that between is the gain.
    gain, basis = eigh(np.diag(between), within)
    gain = np.maximum(gain, 0)
    belief = np.where(there[:, None], counts[:, None] * gain / (counts[:, None] * gain + 1), 0)
    spread = 1 + gain / (typical * gain + 1)
    expected = belief * (centres @ basis)
    weight = (expected / spread) @ basis.T
    bias = -0.5 * (expected**2 / spread).sum(1) - 0.5 * (np.log(spread) - np.log(1 + gain)).sum()
    curve = (basis * (1 / spread - 1 / (1 + gain))) @ basis.T
    scale = 1 / np.sqrt(size)
    square, directions, bend = _reduced(curve * np.outer(size, size) ** 0.5)
    head = LinearHead(mean, scale, weight * np.sqrt(size), bias, square, directions, bend)
    logits = head.logits(x + mean)[:, there]
    unit = max(float((logits - logits.mean(1, keepdims=True)).std()), 1e-12)
    bias = np.where(there, bias, bias.min() - unit)
    return LinearHead(mean, scale, head.weight / unit, bias / unit, square / unit, directions, bend / unit)


def _within(residual: Floats, freedom: int, prior: Prior) -> tuple[Floats, Floats]:
    """Covariance within a class ``(R, R)``, and a typical variance in every direction ``(R,)``."""
    if freedom < 1:
        size = ONE_CLIP * prior.within
        return np.diag(size), size
    measured, _ = ledoit_wolf(residual * np.sqrt(len(residual) / freedom), assume_centered=True)
    size = prior.within * max(float(np.trace(measured) / prior.within.sum()), 1e-6)
    return (1 - TAUGHT_SHARE) * np.diag(size) + TAUGHT_SHARE * measured, size


def _reduced(curve: Floats) -> tuple[Floats, Floats, Floats]:
    """A symmetric matrix as a diagonal ``(R,)`` and directions ``(K, R)`` with their signs ``(K,)``."""
    values, vectors = np.linalg.eigh(curve - np.diag(np.diag(curve)))
    most = np.argsort(-np.abs(values))[:CURVE]
    directions = (vectors[:, most] * np.sqrt(np.abs(values[most]))).T
    bend = np.sign(values[most])
    square = np.diag(curve) - (bend[:, None] * directions**2).sum(0)
    return square, directions, bend
