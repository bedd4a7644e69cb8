"""The linear part of a prompt: what every kind of head comes down to.

Letters: n clips, F features, N classes, K directions of the curve.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt


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


def linear_logits(tensors: Mapping[str, np.ndarray], features: np.ndarray) -> npt.NDArray[np.float32]:
    """Logits ``(n, N)`` of a prompt's linear part on features ``(n, F)``.

    Where the prompt has a ``likeness`` part, all logits of a clip are shifted so that the largest is that part's.
    """
    logits = _logits(tensors, "linear", features)
    if "likeness.mean" in tensors:
        likeness = _logits(tensors, "likeness", features[:, : len(tensors["likeness.mean"])])
        logits = align_max(logits, likeness)
    rounded: npt.NDArray[np.float32] = logits.astype(np.float32)
    return rounded


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
