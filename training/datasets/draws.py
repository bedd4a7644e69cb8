"""Few-shot draws: which clips a tenant with k clips per class would have sent."""

from __future__ import annotations

import numpy as np

Indices = np.ndarray[tuple[int], np.dtype[np.int64]]


def draw_shots(labels: np.ndarray, candidates: np.ndarray, shots: int | None, seed: int) -> Indices:
    """Draw ``shots`` clips of every class among the candidates.

    Args:
        labels: ``(clips,)`` class of every clip of the set.
        candidates: Indices that may be drawn: the training side, never a test clip.
        shots: k; None, or more than a class has, takes all of it.
        seed: The draw follows from it alone.

    Returns:
        Sorted indices.
    """
    rng = np.random.default_rng(seed)
    drawn = []
    for label in np.unique(labels[candidates]):
        # Permuting before cutting makes the clips of k shots a subset of those of more shots with the same seed.
        mine = rng.permutation(candidates[labels[candidates] == label])
        drawn.append(mine[:shots])
    return np.sort(np.concatenate(drawn)).astype(np.int64)
