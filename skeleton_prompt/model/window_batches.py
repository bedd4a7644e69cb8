"""Batches of bounded size: memory and time of one forward pass grow with windows, not with people or clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from skeleton_prompt.clips.normalise import PreparedPerson

MAX_WINDOWS = 64  # of one forward pass; on one CPU core about half a second and 100 MB


def window_batches(
    people: Sequence[PreparedPerson], batch_size: int, max_windows: int = MAX_WINDOWS
) -> Iterator[list[PreparedPerson]]:
    """Split people into consecutive batches.

    Args:
        people: In order.
        batch_size: Maximum number of people in a batch.
        max_windows: Maximum number of windows in a batch; a person with more is a batch alone.

    Yields:
        Non-empty batches.
    """
    batch: list[PreparedPerson] = []
    windows = 0
    for person in people:
        if batch and (len(batch) == batch_size or windows + len(person.pose) > max_windows):
            yield batch
            batch, windows = [], 0
        batch.append(person)
        windows += len(person.pose)
    if batch:
        yield batch


def window_pieces(person: PreparedPerson, max_windows: int = MAX_WINDOWS) -> Iterator[PreparedPerson]:
    """Split one person into consecutive parts of at most ``max_windows`` windows."""
    for start in range(0, len(person.pose), max_windows):
        yield windows_of(person, slice(start, start + max_windows))


def thinned(person: PreparedPerson, max_windows: int) -> PreparedPerson:
    """The person with at most ``max_windows`` windows, evenly spaced, first and last included."""
    count = len(person.pose)
    if count <= max_windows:
        return person
    return windows_of(person, np.linspace(0, count - 1, max_windows).round().astype(int))


def windows_of(person: PreparedPerson, index: slice | np.ndarray) -> PreparedPerson:
    """The person with some of its windows alone."""
    return replace(person, pose=person.pose[index], depth=person.depth[index], log_seconds=person.log_seconds[index])
