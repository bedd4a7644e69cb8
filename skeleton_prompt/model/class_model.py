"""Gaussian model of a tenant's classes: heads for clips that lack joints, and how familiar a clip is.

The two-covariance model of probabilistic linear discriminant analysis (Ioffe 2006; Brümmer and de Villiers 2010) on the
backbone's shared projection. A clip is the centre of its class plus what varies within a class, both Gaussian. The
score of a class is the log likelihood ratio, in nats, of "a clip of this class" to "a clip of a class never taught".

A tenant's few clips vary less than clips of other people do, and each joint that a clip lacks adds variance. The
covariance within a class is therefore ``W + (base + per_joint * m) * W_corpus`` with ``m`` the joints that are missing
from the clip although the taught clips show them. A head for any ``m`` is computed from the stored statistics by the
Woodbury identity in about a millisecond. The *familiarity* of a clip is its largest score over the score that a clip of
a taught class has on average: about 1 for such a clip, 0 where a class never taught is as likely.

All statistics are in coordinates in which the corpus's covariance within a class is the identity.

Letters: R features of the shared projection, N classes, K directions, J joints, B rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from skeleton_prompt.clips.normalise import PreparedPerson
from skeleton_prompt.model.prompt_file import CLASS_MODEL, Array, Prompt

Floats = npt.NDArray[np.float64]

MAX_MISSING = 12  # more missing joints than these widen no further


@dataclass(frozen=True, eq=False)
class ScoreHead:
    """Scores of all classes for one number of missing joints.

    With ``z = (x - mean) * scale`` the scores are ``z @ weight.T + bias - (z² @ square + (z @ curve.T)² @ bend) / 2``.

    Attributes:
        weight: ``(N, R)``.
        bias: ``(N,)``.
        square: ``(R,)``.
        curve: ``(3K, R)``.
        bend: ``(3K,)``.
        expected: Mean score of a clip of a taught class for its own class.
    """

    weight: Floats
    bias: Floats
    square: Floats
    curve: Floats
    bend: Floats
    expected: float


@dataclass(frozen=True, eq=False)
class ClassModel:
    """What a prompt stores of its classes; the tensors ``class_model.*`` of its file.

    Attributes:
        mean: ``(R,)``, of the taught clips.
        scale: ``(R,)``, to the coordinates of the other statistics.
        centres: ``(N, R)``, class means.
        counts: ``(N,)``, clips of each class.
        within: ``(R,)``, diagonal of the tenant's covariance within a class beside ``directions``.
        directions: ``(K, R)``, its covariance is ``diag(within) + directions.T @ directions``.
        between: ``(R,)``, variance between classes.
        widening: ``(2,)``, ``base`` and ``per_joint``.
        unit: ``(1,)``, nats per logit of the prompt's linear part.
        shown: ``(J,)``, share of the taught clips that show a joint.
    """

    mean: Floats
    scale: Floats
    centres: Floats
    counts: Floats
    within: Floats
    directions: Floats
    between: Floats
    widening: Floats
    unit: Floats
    shown: Floats

    @classmethod
    def of(cls, tensors: Mapping[str, np.ndarray]) -> ClassModel | None:
        """The class model among a prompt's tensors, or None where it has none."""
        if f"{CLASS_MODEL}mean" not in tensors:
            return None
        return cls(**{one.name: tensors[CLASS_MODEL + one.name].astype(np.float64) for one in fields(cls)})

    def tensors(self) -> dict[str, np.ndarray]:
        """The prompt's tensors, rounded as its file rounds them."""
        return {
            CLASS_MODEL + one.name: getattr(self, one.name).astype(np.float16).astype(np.float32)
            for one in fields(self)
        }

    def head(self, missing: float) -> ScoreHead:
        """Scores in nats for clips that lack ``missing`` joints."""
        D = self.within + self.widening[0] + self.widening[1] * min(missing, MAX_MISSING)
        U, b = self.directions, self.between
        there = self.counts > 0
        typical = float(self.counts[there].mean())
        centres = np.zeros_like(self.centres)
        for count in np.unique(self.counts[there]):
            rows = self.counts == count
            centres[rows] = b * _Inverse(b + D / count, U / np.sqrt(count)).times(self.centres[rows])
        of_mean = _Inverse(b + D / typical, U / np.sqrt(typical))
        left, ways = D + b - b**2 / of_mean.diagonal, np.concatenate((U, of_mean.ways * b))
        taught, any_class = _Inverse(left, ways), _Inverse(D + b, U)
        weight = taught.times(centres)
        gain = (any_class.log_determinant - taught.log_determinant) / 2
        bias = gain - (centres * weight).sum(1) / 2
        trace = (left / any_class.diagonal).sum() + (ways**2 / any_class.diagonal).sum()
        trace -= (any_class.ways**2 * left).sum() + np.square(any_class.ways @ ways.T).sum()
        length = (centres * any_class.times(centres)).sum(1)[there].mean()
        bias[~there] = bias[there].min() - abs(gain) - 1
        return ScoreHead(
            weight=weight,
            bias=bias,
            square=1 / taught.diagonal - 1 / any_class.diagonal,
            curve=np.concatenate((taught.ways, any_class.ways)),
            bend=np.repeat([-1.0, 1.0], [len(taught.ways), len(any_class.ways)]),
            expected=max(float(gain + (trace + length - len(D)) / 2), 1e-3),
        )

    def parameters(self, missing: float) -> dict[str, Array]:
        """``head`` as the parameters of a linear part in the unit of the prompt's logits, and ``expected`` ``()``."""
        head, unit = self.head(missing), float(self.unit[0])
        values = {
            "mean": self.mean,
            "scale": self.scale,
            "weight": head.weight / unit,
            "bias": head.bias / unit,
            "square": head.square / unit,
            "curve": head.curve,
            "bend": head.bend / unit,
            "expected": np.float64(head.expected / unit),
        }
        return {name: np.array(value, dtype=np.float32) for name, value in values.items()}


class _Inverse:
    """Inverse of ``diag(D) + V.T @ V`` as ``diag(1 / diagonal) - ways.T @ ways`` (Woodbury identity)."""

    def __init__(self, diagonal: Floats, V: Floats) -> None:
        lower = np.linalg.cholesky(np.eye(len(V)) + (V / diagonal) @ V.T)
        self.diagonal = diagonal
        self.ways = np.linalg.solve(lower, V / diagonal)
        self.log_determinant = float(np.log(diagonal).sum() + 2 * np.log(np.diag(lower)).sum())

    def times(self, rows: Floats) -> Floats:
        """Rows ``(n, R)`` times the inverse."""
        result: Floats = rows / self.diagonal - (rows @ self.ways.T) @ self.ways
        return result


def usual_joints(prompt: Prompt) -> np.ndarray | None:
    """``(J,)`` share of the taught clips that show a joint, or None where the prompt has no class model."""
    return prompt.tensors.get(f"{CLASS_MODEL}shown")


def shown_joints(people: Sequence[PreparedPerson]) -> Array:
    """``(B, J)``: 1 for every joint that a person shows at any moment, else 0."""
    return np.stack([(person.pose[..., 2] > 0).any((0, 1)) for person in people]).astype(np.float32)


def missing_joints(usual: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """How many joints clips lack that the taught clips show, a whole number ``(...)`` of at most ``MAX_MISSING``.

    Args:
        usual: ``(J,)``, share of the taught clips that show a joint.
        shown: ``(..., J)``, 1 for a joint that a clip shows at any moment, else 0.
    """
    count: np.ndarray = np.minimum(np.rint(np.maximum(usual - shown, 0).sum(-1)), MAX_MISSING).astype(int)
    return count


def missing_joints_of(prompt: Prompt, person: PreparedPerson) -> int:
    """``missing_joints`` of one person; 0 for a prompt without a class model."""
    usual = usual_joints(prompt)
    return 0 if usual is None else int(missing_joints(usual, shown_joints([person]))[0])
