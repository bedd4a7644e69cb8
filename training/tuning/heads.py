"""Heads on frozen features: class prototypes, ridge and shrinkage LDA in dual form, and PLDA (see ``plda``).

A tenant has tens of clips and thousands of features, so every head is fitted from the Gram matrix of the clips; a
cross-validation of many candidates shares it. Each feature block is standardised on its own and has the same say
whatever its width.

Letters: n clips, F features, N classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.covariance import ledoit_wolf

from training.tuning.linear_head import LinearHead
from training.tuning.plda import Prior, fit_plda

Floats = npt.NDArray[np.float64]
Blocks = Mapping[str, np.ndarray]  # name of a feature block to (n, F of the block)

STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
LDA_RANK = 256
WHITENED = frozenset({"house"})  # blocks whose features are already in proportion: scaled as a whole, not one by one
FLOOR = 0.1  # of a block's mean deviation: features that hardly vary among few clips must not be blown up


@dataclass(frozen=True)
class Candidate:
    """One way to make a linear head.

    Attributes:
        kind: ``prototypes``, ``ridge``, ``lda`` or ``plda``.
        blocks: The feature blocks that it reads.
        strength: Of the ridge penalty, relative to the mean diagonal of the Gram matrix.
        prior: What PLDA knows of its one block beforehand.
    """

    kind: str
    blocks: tuple[str, ...]
    strength: float = 0.0
    prior: Prior | None = None

    @property
    def name(self) -> str:
        """Kind and blocks, which is what the report compares."""
        return f"{self.kind}({'+'.join(self.blocks)})"


@dataclass(frozen=True, eq=False)
class Standardizer:
    """Standardisation of blocks that makes inner products of rows the mean over blocks of mean products.

    Attributes:
        mean: Per block ``(F,)``.
        scale: Per block ``(F,)``.
    """

    mean: Mapping[str, Floats]
    scale: Mapping[str, Floats]

    @classmethod
    def of(cls, features: Blocks, rows: np.ndarray) -> Standardizer:
        """Standardisation measured on some rows."""
        mean, scale = {}, {}
        for name, values in features.items():
            x = values[rows].astype(np.float64)
            spread = x.std(0)
            if name in WHITENED:
                spread = np.full_like(spread, spread.mean())
            mean[name] = x.mean(0)
            scale[name] = 1 / (spread + max(FLOOR * float(spread.mean()), 1e-4)) / np.sqrt(x.shape[1])
        return cls(mean, scale)

    def apply(self, features: Blocks, name: str, rows: np.ndarray) -> Floats:
        """One standardised block of some rows."""
        result: Floats = (features[name][rows] - self.mean[name]) * self.scale[name]
        return result


@dataclass(frozen=True, eq=False)
class DualSolution:
    """A head over the training rows: logits are ``cross @ alpha + bias``; ``alpha`` ``(n, N)``, ``bias`` ``(N,)``."""

    alpha: Floats
    bias: Floats


def one_hot(labels: np.ndarray, classes: int) -> Floats:
    """``(n, N)`` of zeros and ones."""
    result: Floats = np.eye(classes)[labels]
    return result


def fit_prototypes(gram: Floats, labels: np.ndarray, classes: int) -> DualSolution:
    """Nearest class mean by cosine, the clips being centred by the standardisation.

    The length of the clip itself is left out: it scales all logits of a clip alike and keeps the head linear.
    """
    counts = np.bincount(labels, minlength=classes)
    alpha = one_hot(labels, classes) / np.maximum(counts, 1)
    lengths = np.sqrt(np.maximum(np.einsum("nc,nm,mc->c", alpha, gram, alpha, optimize=True), 1e-12))
    return DualSolution(alpha / lengths, np.zeros(classes))


def fit_ridges(gram: Floats, labels: np.ndarray, classes: int, strengths: Sequence[float]) -> list[DualSolution]:
    """Ridge regression onto centred one-hot targets, classes weighing the same whatever their counts.

    With weights w the dual solution is ``(K + λ diag(1/w))⁻¹ Y`` (Saunders et al. 1998, weighted); it is solved through
    the eigenvectors of ``√w K √w``, once for all strengths.
    """
    counts = np.maximum(np.bincount(labels, minlength=classes), 1)
    present = max(1, int((np.bincount(labels, minlength=classes) > 0).sum()))
    root = np.sqrt(len(labels) / (present * counts[labels]))
    values, vectors = np.linalg.eigh(gram * root[:, None] * root[None])
    goal = (one_hot(labels, classes) - 1 / present) * root[:, None]
    projected = vectors.T @ goal
    size = float(np.trace(gram)) / len(gram)
    duals = []
    for strength in strengths:
        shrunk = projected / (np.maximum(values, 0) + strength * max(size, 1e-12) + 1e-12)[:, None]
        duals.append(DualSolution(vectors @ shrunk * root[:, None], np.full(classes, 1 / present)))
    return duals


def fit_lda(gram: Floats, labels: np.ndarray, classes: int) -> DualSolution:
    """Linear discriminant analysis with equal priors and Ledoit-Wolf shrinkage, in the span of the clips."""
    values, vectors = np.linalg.eigh(gram)
    order = np.argsort(-values)[:LDA_RANK]
    order = order[values[order] > max(1e-9 * values[order[0]], 1e-12)]
    if not len(order):  # all clips are equal: there is nothing to tell classes apart by
        return DualSolution(np.zeros((len(labels), classes)), np.zeros(classes))
    lengths = np.sqrt(values[order])
    scores = vectors[:, order] * lengths
    counts = np.maximum(np.bincount(labels, minlength=classes), 1)
    means = one_hot(labels, classes).T @ scores / counts[:, None]
    covariance, _ = ledoit_wolf(scores - means[labels], assume_centered=True)
    ridge = 1e-6 * float(np.trace(covariance)) / len(covariance) + 1e-12
    weight = np.linalg.solve(covariance + ridge * np.eye(len(covariance)), means.T)
    bias = -0.5 * (means.T * weight).sum(0)
    absent = np.bincount(labels, minlength=classes) == 0
    bias[absent] = bias.min() - 1
    # Unit size, as the other heads have: logits in the hundreds would be blurred by float16 weights.
    size = max(float((scores @ weight + bias).std()), 1e-12)
    return DualSolution(vectors[:, order] / lengths @ weight / size, bias / size)


def fit_dual(candidates: Sequence[Candidate], gram: Floats, labels: np.ndarray, classes: int) -> list[DualSolution]:
    """Heads of candidates that read the same blocks, in order."""
    ridges = [candidate for candidate in candidates if candidate.kind == "ridge"]
    solved = dict(
        zip(ridges, fit_ridges(gram, labels, classes, [c.strength for c in ridges]) if ridges else [], strict=True)
    )
    others: dict[str, Any] = {"prototypes": fit_prototypes, "lda": fit_lda}
    return [solved[c] if c in solved else others[c.kind](gram, labels, classes) for c in candidates]


def grams(features: Blocks, rows: np.ndarray, others: np.ndarray) -> dict[str, tuple[Floats, Floats]]:
    """Per block the Gram matrix of the rows and the products of other rows with them, standardised on the rows."""
    standard = Standardizer.of(features, rows)
    result = {}
    for name in features:
        x = standard.apply(features, name, rows)
        y = standard.apply(features, name, others)
        result[name] = (x @ x.T, y @ x.T)
    return result


def held_out_logits(
    candidates: Sequence[Candidate],
    features: Blocks,
    labels: np.ndarray,
    classes: int,
    rows: np.ndarray,
    others: np.ndarray,
) -> dict[Candidate, Floats]:
    """Logits ``(len(others), N)`` of every candidate fitted on ``rows`` and asked about ``others``."""
    result: dict[Candidate, Floats] = {}
    for candidate in candidates:
        if candidate.prior is not None:
            (block,) = candidate.blocks
            head = fit_plda(features[block][rows], labels[rows], classes, candidate.prior)
            result[candidate] = head.logits(features[block][others]).astype(np.float64)
    plain = [candidate for candidate in candidates if candidate.prior is None]
    parts = grams(features, rows, others) if plain else {}
    for blocks in dict.fromkeys(candidate.blocks for candidate in plain):
        mine = [candidate for candidate in plain if candidate.blocks == blocks]
        gram: Floats = np.mean([parts[name][0] for name in blocks], axis=0)
        cross: Floats = np.mean([parts[name][1] for name in blocks], axis=0)
        for candidate, dual in zip(mine, fit_dual(mine, gram, labels[rows], classes), strict=True):
            result[candidate] = cross @ dual.alpha + dual.bias
    return result


def fit_head(candidate: Candidate, features: Blocks, labels: np.ndarray, classes: int) -> LinearHead:
    """The head of a candidate on all clips, in the features themselves."""
    if candidate.prior is not None:
        (block,) = candidate.blocks
        return fit_plda(features[block], labels, classes, candidate.prior)
    rows = np.arange(len(labels))
    standard = Standardizer.of(features, rows)
    share = 1 / np.sqrt(len(candidate.blocks))
    x = np.concatenate([standard.apply(features, name, rows) * share for name in candidate.blocks], 1)
    (dual,) = fit_dual([candidate], x @ x.T, labels, classes)
    return LinearHead(
        mean=np.concatenate([standard.mean[name] for name in candidate.blocks]),
        scale=np.concatenate([standard.scale[name] * share for name in candidate.blocks]),
        weight=dual.alpha.T @ x,
        bias=dual.bias,
    )
