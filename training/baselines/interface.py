"""What a baseline is: fitted on the same normalised people that the engine reads, asked about others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from skeleton_prompt.clips.normalise import PreparedPerson

Logits = npt.NDArray[np.float32]
Tick = Callable[[float, str], None]  # (share done, message); may raise to stop the work


class Fitted(Protocol):
    """A baseline that has been fitted.

    Attributes:
        parameters: How many numbers training set: of the whole net, or of the head on frozen or fixed features.
    """

    @property
    def parameters(self) -> int:
        """See the class."""

    def logits(self, people: Sequence[PreparedPerson]) -> Logits:
        """Logits ``(n, N)`` float32 of people, the windows of each person averaged."""


class Baseline(Protocol):
    """A way to learn actions that ours is compared with.

    Attributes:
        name: As tables show it.
    """

    @property
    def name(self) -> str:
        """See the class."""

    def fit(
        self,
        people: Sequence[PreparedPerson],
        labels: np.ndarray,
        classes: int,
        *,
        seed: int,
        drop_joints: bool = False,
        tick: Tick | None = None,
    ) -> Fitted:
        """Learn from labelled people; the same arguments give the same logits.

        Args:
            people: n people.
            labels: ``(n,)`` integers below ``classes``.
            classes: N; a class without a clip is never predicted.
            seed: All randomness follows from it.
            drop_joints: Also learn from clips that lack 1 to 8 joints throughout.
            tick: Progress callback (share done, message).

        Raises:
            ValueError: If there are no people, the labels do not fit the people, or fewer than two classes are taught.
        """


def checked(people: Sequence[PreparedPerson], labels: np.ndarray, classes: int) -> npt.NDArray[np.int64]:
    """The labels as integers.

    Raises:
        ValueError: See ``Baseline.fit``.
    """
    truth: npt.NDArray[np.int64] = np.asarray(labels, dtype=np.int64)
    if truth.shape != (len(people),):
        raise ValueError(f"labels have shape {truth.shape}, but there are {len(people)} people: give one label each")
    if len(np.unique(truth)) < 2:
        raise ValueError(f"labels: {len(np.unique(truth))} classes are taught; at least 2 are needed")
    if truth.min() < 0 or truth.max() >= classes:
        raise ValueError(
            f"labels run from {truth.min()} to {truth.max()}; with {classes} classes 0 to {classes - 1} do"
        )
    return truth
