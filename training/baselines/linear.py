"""Heads on fixed features: ridge, support vectors, nearest class mean and the linear probe.

Strengths are chosen by cross-validation inside the clips that are taught; copies of a clip always stay on the side of
the clip itself. Where one clip per class leaves nothing to hold out, each takes the value that its class states.

Letters: n rows, F features, N classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from skeleton_prompt.clips.normalise import PreparedPerson
from training.baselines.interface import Logits, Tick, checked
from training.baselines.sources import Source, with_copies
from training.tuning.cross_validation import FoldPlan, plan_folds
from training.tuning.heads import STRENGTHS, Blocks, Candidate, fit_head
from training.tuning.linear_head import linear_logits
from training.tuning.model_selection import cross_validate

Floats = npt.NDArray[np.float64]
Head = Callable[[Blocks, np.ndarray, int, "FoldPlan | None", Tick], "tuple[Callable[[np.ndarray], Logits], int]"]


def silent(_share: float, _message: str) -> None:
    """Progress callback that does nothing."""


@dataclass(frozen=True, eq=False)
class FittedHead:
    """A head and the features that it reads.

    Attributes:
        parameters: Numbers of the head.
        source: Of the features.
        head: From features ``(n, F)`` to logits ``(n, N)``.
    """

    parameters: int
    source: Source
    head: Callable[[np.ndarray], Logits] = field(repr=False)

    def logits(self, people: Sequence[PreparedPerson]) -> Logits:
        """Logits ``(n, N)`` of people."""
        return self.head(self.source.of(people))


@dataclass(frozen=True, eq=False)
class OnFeatures:
    """A baseline that fits a head on fixed features.

    Attributes:
        name: As tables show it.
        source: Of the features.
        head: Fits on blocks, labels, N and a fold plan; gives the head and how many numbers it holds.
    """

    name: str
    source: Source
    head: Head

    def fit(
        self,
        people: Sequence[PreparedPerson],
        labels: np.ndarray,
        classes: int,
        *,
        seed: int,
        drop_joints: bool = False,
        tick: Tick | None = None,
    ) -> FittedHead:
        """Fit the head; see ``interface.Baseline``."""
        truth = checked(people, labels, classes)
        report = tick or silent
        features, owners = with_copies(
            self.source, people, seed=seed, dropped=drop_joints, tick=lambda share, text: report(share / 2, text)
        )
        plan = for_copies(plan_folds(truth, [None] * len(truth), seed), owners)
        head, parameters = self.head(
            {self.source.block: features},
            truth[owners],
            classes,
            plan,
            lambda share, text: report(0.5 + share / 2, text),
        )
        report(1.0, "fitted")
        return FittedHead(parameters, self.source, head)


def for_copies(plan: FoldPlan | None, owners: np.ndarray) -> FoldPlan | None:
    """The plan of clips as one of rows, whose owners the clips are."""
    if plan is None:
        return None

    def rows(clips: np.ndarray) -> np.ndarray:
        return np.flatnonzero(np.isin(owners, clips))

    splits = tuple(tuple((rows(train), rows(held)) for train, held in repeat) for repeat in plan.splits)
    return FoldPlan(splits, plan.grouped, plan.held_out[owners], plan.why)


def ridge(
    features: Blocks, labels: np.ndarray, classes: int, plan: FoldPlan | None, tick: Tick
) -> tuple[Callable[[np.ndarray], Logits], int]:
    """The repository's own ridge head, its strength by held-out log loss; the most shrunk one for single clips."""
    blocks = tuple(features)
    strength = STRENGTHS[-1]
    if plan is not None:
        choices = [Candidate("ridge", blocks, each) for each in STRENGTHS]
        (judged,) = cross_validate(choices, features, labels, classes, plan, tick).values()
        strength = judged.candidate.strength
    tensors = fit_head(Candidate("ridge", blocks, strength), features, labels, classes)
    named = {f"linear.{name}": np.asarray(getattr(tensors, name), np.float32) for name in ("mean", "scale", "weight")}
    named["linear.bias"] = np.asarray(tensors.bias, np.float32)
    return lambda values: linear_logits(named, values), tensors.weight.size + tensors.bias.size


def nearest_mean(
    features: Blocks, labels: np.ndarray, classes: int, _plan: FoldPlan | None, _tick: Tick
) -> tuple[Callable[[np.ndarray], Logits], int]:
    """Nearest class mean by cosine on standardised features: nothing to choose."""
    head = fit_head(Candidate("prototypes", tuple(features)), features, labels, classes)
    absent = np.bincount(labels, minlength=classes) == 0

    def cosine(values: np.ndarray) -> Logits:
        x = (values - head.mean) * head.scale
        lengths = np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        scores = x @ head.weight.T / lengths
        scores[:, absent] = -1.0
        logits: Logits = scores.astype(np.float32)
        return logits

    return cosine, head.weight.size
