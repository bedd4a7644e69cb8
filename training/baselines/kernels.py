"""Support vectors and the linear probe: scikit-learn's solvers on what the heads of this repository standardise.

Letters: n rows, m other rows, F features, N classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from training.baselines.interface import Logits, Tick
from training.tuning.cross_validation import FoldPlan
from training.tuning.heads import Blocks, Standardizer
from training.tuning.linear_head import LinearHead

Floats = npt.NDArray[np.float64]
SVM_STRENGTHS = (1.0, 10.0, 100.0)  # C, for kernels whose diagonal is 1 on average
WIDTHS = (None, 0.5)  # None is linear; else gamma in units of one over the mean squared distance
PROBE_STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
WITHOUT_HELD_OUT = 1.0
ABSENT = -1e4  # the bias of a class that was never taught


@dataclass(frozen=True)
class Kernel:
    """A kernel on standardised rows, scaled on the rows that it is fitted on.

    Attributes:
        width: See ``WIDTHS``.
        size: Mean squared length of a row.
        spread: Mean squared distance between rows.
    """

    width: float | None
    size: float
    spread: float

    @classmethod
    def of(cls, x: Floats, width: float | None) -> Kernel:
        """The kernel scaled on rows ``(n, F)``."""
        size = max(float((x**2).sum(1).mean()), 1e-12)
        return cls(width, size, max(2 * (size - float((x.mean(0) ** 2).sum())), 1e-12))

    def between(self, y: Floats, x: Floats) -> Floats:
        """``(m, n)``."""
        products: Floats = y @ x.T
        if self.width is None:
            return products / self.size
        distances = (y**2).sum(1)[:, None] + (x**2).sum(1)[None] - 2 * products
        result: Floats = np.exp(-self.width / self.spread * np.maximum(distances, 0))
        return result


@dataclass(frozen=True, eq=False)
class Machines:
    """One support vector machine per class against all others: ``(m, n)`` kernel values to scores ``(m, known)``.

    One class against another, which is scikit-learn's own way, was 1 point worse on JHMDB-14 and 3 on UTD-MHAD, each at
    its best of the same settings, on held-out training clips with five clips a class, one draw; with the linear kernel
    alone neither was ahead on both.

    Attributes:
        duals: ``(known, n)``, zero where a row supports nothing.
        intercepts: ``(known,)``.
        known: ``(known,)`` classes.
    """

    duals: Floats
    intercepts: Floats
    known: np.ndarray

    @classmethod
    def fit(cls, kernel: Floats, labels: np.ndarray, strength: float) -> Machines:
        """Machines for kernel values ``(n, n)``."""
        known = np.unique(labels)
        duals, intercepts = np.zeros((len(known), len(labels))), np.zeros(len(known))
        for row, label in enumerate(known):
            machine = SVC(C=strength, kernel="precomputed", class_weight="balanced").fit(kernel, labels == label)
            duals[row, machine.support_], intercepts[row] = machine.dual_coef_[0], machine.intercept_[0]
        return cls(duals, intercepts, known)

    def scores(self, cross: Floats) -> Floats:
        """``(m, known)`` for kernel values ``(m, n)``."""
        result: Floats = cross @ self.duals.T + self.intercepts
        return result


def svm(
    features: Blocks, labels: np.ndarray, classes: int, plan: FoldPlan | None, tick: Tick
) -> tuple[Callable[[np.ndarray], Logits], int]:
    """Support vectors, linear or RBF and of the strength that held-out clips favour.

    Only the first pass of the plan is used, to stay within a minute. For single clips it is the linear kernel with
    C = 10, which is in effect a hard margin.
    """
    settings = [(width, strength) for width in WIDTHS for strength in SVM_STRENGTHS]
    right = dict.fromkeys(settings, 0)
    splits = plan.splits[0] if plan is not None else ()
    for number, (rows, held) in enumerate(splits):
        x, y = _standardised(features, rows, held)
        for width in WIDTHS:
            kernel = Kernel.of(x, width)
            inner, cross = kernel.between(x, x), kernel.between(y, x)
            for strength in SVM_STRENGTHS:
                machines = Machines.fit(inner, labels[rows], strength)
                scores = machines.known[machines.scores(cross).argmax(1)]
                right[width, strength] += int((scores == labels[held]).sum())
        tick((number + 1) / (len(splits) + 1), f"support vectors: fold {number + 1} of {len(splits)}")
    # The first of equals, and linear comes first.
    width, strength = max(settings, key=lambda setting: right[setting]) if splits else (None, 10.0)
    (name,) = features
    rows = np.arange(len(labels))
    standard = Standardizer.of(features, rows)
    x = standard.apply(features, name, rows)
    kernel = Kernel.of(x, width)
    machines = Machines.fit(kernel.between(x, x), labels, strength)

    def head(asked: np.ndarray) -> Logits:
        y = standard.apply({name: asked}, name, np.arange(len(asked)))
        scores = np.full((len(y), classes), ABSENT, dtype=np.float32)
        scores[:, machines.known] = machines.scores(kernel.between(y, x))
        return scores

    # A linear machine is one vector; others keep every row that supports any class.
    supports = int((machines.duals != 0).any(0).sum())
    kept = (
        len(machines.known) * x.shape[1] if width is None else supports * x.shape[1] + np.count_nonzero(machines.duals)
    )
    return head, int(kept + len(machines.known))


def probe_head(features: Blocks, labels: np.ndarray, classes: int, plan: FoldPlan | None, tick: Tick) -> LinearHead:
    """Multinomial logistic regression, its strength by held-out log loss; C = 1 for single clips.

    An L2 penalty leaves the weights in the span of the rows, so the solver works there, exactly and far faster.
    """
    losses = dict.fromkeys(PROBE_STRENGTHS, 0.0)
    splits = plan.splits[0] if plan is not None else ()
    for number, (rows, held) in enumerate(splits):
        x, y = _standardised(features, rows, held)
        basis = _span(x)
        for strength in PROBE_STRENGTHS:
            machine = _logistic(x @ basis, labels[rows], strength)
            scores = np.full((len(held), classes), 1e-12)
            scores[:, machine.classes_] = machine.predict_proba(y @ basis)
            losses[strength] -= float(np.log(np.maximum(scores[np.arange(len(held)), labels[held]], 1e-12)).sum())
        tick((number + 1) / (len(splits) + 1), f"linear probe: fold {number + 1} of {len(splits)}")
    strength = min(PROBE_STRENGTHS, key=lambda each: losses[each]) if splits else WITHOUT_HELD_OUT
    rows = np.arange(len(labels))
    standard = Standardizer.of(features, rows)
    (name,) = features
    x = standard.apply(features, name, rows)
    basis = _span(x)
    machine = _logistic(x @ basis, labels, strength)
    coefficients, intercept = machine.coef_ @ basis.T, machine.intercept_
    if len(coefficients) == 1:  # of two classes scikit-learn tells one apart from the other
        coefficients, intercept = (
            np.concatenate((-coefficients, coefficients)) / 2,
            np.append(-intercept, intercept) / 2,
        )
    weight, bias = np.zeros((classes, x.shape[1])), np.full(classes, ABSENT)
    weight[machine.classes_], bias[machine.classes_] = coefficients, intercept
    return LinearHead(standard.mean[name], standard.scale[name], weight, bias)


def probe(
    features: Blocks, labels: np.ndarray, classes: int, plan: FoldPlan | None, tick: Tick
) -> tuple[Callable[[np.ndarray], Logits], int]:
    """The head of ``probe_head``."""
    head = probe_head(features, labels, classes, plan, tick)

    def logits(asked: np.ndarray) -> Logits:
        scores: Logits = (((asked - head.mean) * head.scale) @ head.weight.T + head.bias).astype(np.float32)
        return scores

    return logits, int(head.weight.size + head.bias.size)


def _standardised(features: Blocks, rows: np.ndarray, held: np.ndarray) -> tuple[Floats, Floats]:
    """Rows and held-out rows of the only block, standardised on the rows."""
    standard = Standardizer.of(features, rows)
    (name,) = features
    return standard.apply(features, name, rows), standard.apply(features, name, held)


def _span(x: Floats) -> Floats:
    """An orthonormal basis ``(F, r)`` of the rows' span."""
    values, vectors = np.linalg.eigh(x @ x.T)
    kept = values > 1e-9 * values[-1]
    result: Floats = x.T @ (vectors[:, kept] / np.sqrt(values[kept]))
    return result


def _logistic(x: Floats, labels: np.ndarray, strength: float) -> LogisticRegression:
    # Unit rows on average, so that C means the same for any number of features.
    with warnings.catch_warnings():
        # The weakest penalty need not be solved to the last digit to lose the comparison, or to win it.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=strength, class_weight="balanced", max_iter=300).fit(x, labels)
