"""Sums over the windows of a row, so that a long clip is computed a few windows at a time with the same result.

A prediction depends on averages over a person's windows. ``Chunk`` is some consecutive windows of one person,
``WindowSums`` what the windows so far add up to; the last chunk of a row gives its logits.

Letters: F features, N classes, J joints, W windows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skeleton_prompt.clips.normalise import PreparedPerson
from skeleton_prompt.model.prompt_file import Array, Prompt


@dataclass(frozen=True)
class WindowSums:
    """What the windows of a row that were computed so far add up to.

    Attributes:
        windows: How many they are.
        features: ``(F,)``, the sum of their features, without those of the shared projection.
        temporal: ``(N,)``, the sum of the temporal part's logits; None where the prompt has no such part.
        module: ``(N,)``, likewise of the prompt module.
        shown: ``(J,)``, 1 for each joint that any of them shows, else 0.
    """

    windows: int
    features: Array
    temporal: Array | None
    module: Array | None
    shown: Array

    def __add__(self, other: WindowSums) -> WindowSums:
        """The sums of both, which are of one row."""
        return WindowSums(
            self.windows + other.windows,
            self.features + other.features,
            None if self.temporal is None or other.temporal is None else self.temporal + other.temporal,
            None if self.module is None or other.module is None else self.module + other.module,
            np.maximum(self.shown, other.shown),
        )


@dataclass(frozen=True)
class Chunk:
    """Consecutive windows of one row.

    Attributes:
        person: The person with these windows alone.
        prompt: The prompt of the row.
        before: Sums over the windows in front of these; None for the first chunk.
        last: Whether the row ends here.
    """

    person: PreparedPerson
    prompt: Prompt
    before: WindowSums | None = None
    last: bool = True

    @property
    def is_whole(self) -> bool:
        """Whether the chunk is its whole row."""
        return self.before is None and self.last


Result = Array | WindowSums | Exception
"""Logits ``(N,)`` of a row that ends with its chunk, sums of one that goes on, or the exception that stands for it."""
