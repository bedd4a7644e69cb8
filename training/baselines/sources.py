"""What linear baselines read of people: stream descriptors, or features of a frozen backbone, each computed once.

Letters: n people, c copies of each, F features.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from skeleton_prompt.clips.normalise import PreparedPerson
from skeleton_prompt.model.engine import Engine
from skeleton_prompt.model.features import Windows, descriptor_features, streams
from training.baselines.interface import Tick
from training.tuning.joint_dropout import drop_joints

Floats = npt.NDArray[np.float32]
BATCH = 16
COPIES = 3  # of every clip with joints gone, beside the whole one
MOST_ROWS = 2000  # with copies: heads in dual form cost the cube of their rows


class Source(Protocol):
    """Features of people; ``block`` is the name of the feature block, as heads know it."""

    @property
    def block(self) -> str:
        """Name of the feature block."""

    def of(self, people: Sequence[PreparedPerson]) -> Floats:
        """``(n, F)``."""

    def of_windows(self, windows: Windows) -> Floats:
        """``(n, F)`` of people who are windows already."""


class Remembered:
    """Features by person, kept for as long as the person is.

    People are compared by identity: their arrays are never changed, and hashing them would cost more than most
    features do.
    """

    def __init__(self, compute: Callable[[Sequence[PreparedPerson]], Floats]) -> None:
        self._compute = compute
        self._rows: dict[int, tuple[weakref.ref[PreparedPerson], np.ndarray]] = {}

    def of(self, people: Sequence[PreparedPerson]) -> Floats:
        """``(n, F)`` of people, computed for those who are new."""
        new = list({id(person): person for person in people if id(person) not in self._rows}.values())
        for start in range(0, len(new), BATCH):
            batch = new[start : start + BATCH]
            self.recall(batch, self._compute(batch))
        return np.stack([self._rows[id(person)][1] for person in people])

    def recall(self, people: Sequence[PreparedPerson], rows: np.ndarray) -> None:
        """Take features ``(n, F)`` of people, computed elsewhere."""
        for person, row in zip(people, rows, strict=True):
            key = id(person)
            self._rows[key] = (weakref.ref(person, lambda _, key=key: self._rows.pop(key, None)), row)  # type: ignore[misc]


class Descriptors:
    """The stream descriptors, which need no backbone."""

    block = "descriptors"

    def __init__(self) -> None:
        self._remembered = Remembered(lambda people: self.of_windows(Windows.of(people)))
        self.recall = self._remembered.recall

    def of(self, people: Sequence[PreparedPerson]) -> Floats:
        """``(n, F)``."""
        return self._remembered.of(people)

    def of_windows(self, windows: Windows) -> Floats:
        """``(n, F)`` of people who are windows already."""
        with torch.inference_mode():
            tokens, _ = streams(windows, None)
            values: Floats = windows.average(descriptor_features(tokens, windows.log_seconds)).numpy()
        return values


class Frozen:
    """The frozen block of an engine's features."""

    block = "frozen"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._columns = engine.blocks["frozen"]
        # A copy, or every row would hold on to the features of all blocks.
        self._remembered = Remembered(lambda people: engine.features(people, BATCH)[:, self._columns].copy())
        self.recall = self._remembered.recall

    def of(self, people: Sequence[PreparedPerson]) -> Floats:
        """``(n, F)``."""
        return self._remembered.of(people)

    def of_windows(self, windows: Windows) -> Floats:
        """``(n, F)`` of people who are windows already."""
        with torch.inference_mode():
            values: Floats = self._engine.encode(windows).features[:, self._columns].numpy().copy()
        return values


def with_copies(
    source: Source, people: Sequence[PreparedPerson], *, seed: int, dropped: bool, tick: Tick
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Features of people and, if wanted, of copies of them with joints gone.

    Args:
        source: Of the features.
        people: n people.
        seed: Which joints go follows from it.
        dropped: Whether there are copies.
        tick: Progress callback (share done).

    Returns:
        ``(n·(1 + c), F)``, and for each row whose it is.
    """
    parts = [source.of(people)]
    copies = max(1, min(COPIES, MOST_ROWS // len(people) - 1)) if dropped else 0
    rng = torch.Generator().manual_seed(seed)
    for copy in range(copies):
        for start in range(0, len(people), BATCH):
            windows = drop_joints(Windows.of(people[start : start + BATCH]), rng)
            parts.append(source.of_windows(windows))
        tick((copy + 1) / copies, "features of clips without some of their joints")
    return np.concatenate(parts), np.tile(np.arange(len(people)), 1 + copies)
