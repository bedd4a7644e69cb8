"""The linear part of a prompt: what every kind of head comes down to.

Letters: n clips, F features, N classes, K directions of the curve.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from skeleton_prompt.model.class_model import ClassModel


@dataclass(frozen=True, eq=False)
class LinearHead:
    """A head as a prompt holds it; with ``z = (x - mean) * scale`` logits are ``z @ weight.T + bias``.

    PLDA takes ``(square · z² + bend · (curve @ z)²) / 2`` off all logits of a clip: it changes no probability, but says
    how much of any class the clip shows.

    Attributes:
        mean: ``(F,)``.
        scale: ``(F,)``.
        weight: ``(N, F)``.
        bias: ``(N,)``.
        square: ``(F,)``, or None for a head without a curve.
        curve: ``(K, F)``.
        bend: ``(K,)``.
    """

    mean: np.ndarray
    scale: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    square: np.ndarray | None = None
    curve: np.ndarray | None = None
    bend: np.ndarray | None = None

    def tensors(self, part: str = "linear") -> dict[str, np.ndarray]:
        """The prompt's tensors of a part, rounded as their file will round them."""
        return {name: round_fp16(values) for name, values in self._arrays(part).items()}

    def logits(self, x: np.ndarray) -> npt.NDArray[np.float32]:
        """``(n, F)`` to ``(n, N)``, without the rounding of a file."""
        return linear_logits(self._arrays("linear"), x)

    def _arrays(self, part: str) -> dict[str, np.ndarray]:
        return {f"{part}.{one.name}": value for one in fields(self) if (value := getattr(self, one.name)) is not None}


def round_fp16(values: np.ndarray) -> npt.NDArray[np.float32]:
    """Values as they come back from a prompt file, which holds float16."""
    return values.astype(np.float16).astype(np.float32)


def linear_logits(
    tensors: Mapping[str, np.ndarray],
    features: np.ndarray,
    projected: np.ndarray | None = None,
    missing: np.ndarray | None = None,
) -> npt.NDArray[np.float32]:
    """Logits ``(n, N)`` of a prompt's linear part, as the engine computes them.

    Args:
        tensors: Of the prompt.
        features: ``(n, F)``, what the linear part reads.
        projected: ``(n, R)``, the shared projection, for a prompt with a class model; None where ``features`` begin
            with it.
        missing: ``(n,)``, joints that each clip lacks; see ``class_model.missing_joints``. None for whole clips.

    Returns:
        Logits whose largest says how familiar a clip is, where the prompt has a class model or a ``likeness`` part.
    """
    logits = _logits(tensors, "linear", features)
    model = ClassModel.of(tensors)
    if model is not None:
        x = features[:, : len(model.mean)] if projected is None else projected
        gone = np.zeros(len(x), dtype=int) if missing is None else missing
        for count in np.unique(gone):
            rows = gone == count
            logits[rows] = _by_class_model(model, int(count), "linear.square" in tensors, logits[rows], x[rows])
    elif "likeness.mean" in tensors:
        likeness = _logits(tensors, "likeness", features[:, : len(tensors["likeness.mean"])])
        logits = align_max(logits, likeness)
    rounded: npt.NDArray[np.float32] = logits.astype(np.float32)
    return rounded


def _by_class_model(
    model: ClassModel, missing: int, probabilistic: bool, logits: np.ndarray, x: np.ndarray
) -> np.ndarray:
    """Logits of clips that lack ``missing`` joints; those of a probabilistic head are the class model's own."""
    if probabilistic and not missing:
        return logits
    parameters = model.parameters(missing)
    scores = _logits({f"scores.{name}": value for name, value in parameters.items()}, "scores", x)
    return align_max(scores if probabilistic else logits, scores / parameters["expected"])


def align_max(logits: np.ndarray, likeness: np.ndarray) -> np.ndarray:
    """Logits ``(..., N)`` whose largest is that of other logits: the same probabilities, another familiarity."""
    moved: np.ndarray = logits + (likeness.max(-1, keepdims=True) - logits.max(-1, keepdims=True))
    return moved


def _logits(tensors: Mapping[str, np.ndarray], part: str, features: np.ndarray) -> np.ndarray:
    x = (features.astype(np.float32) - tensors[f"{part}.mean"]) * tensors[f"{part}.scale"]
    result: np.ndarray = x @ tensors[f"{part}.weight"].T + tensors[f"{part}.bias"]
    if f"{part}.square" in tensors:
        curved = (x @ tensors[f"{part}.curve"].T) ** 2 @ tensors[f"{part}.bend"]
        result = result - (x**2 @ tensors[f"{part}.square"] + curved)[:, None] / 2
    return result
