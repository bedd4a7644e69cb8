"""Progress and predicted end of a running job, in shares of time rather than of steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

PRIOR = 0.2  # of the predicted total: how much elapsed time it takes until the measured pace counts as much
MAX_UNFINISHED = 0.99
SKIPPED_S = 0.05


class ProgressEstimator:
    """Turns a phase and its share into overall progress and remaining seconds; learns how long phases take.

    Args:
        planned: Predicted seconds per phase, in order.
        start: Progress that an earlier attempt reached; never decreases.
        clock: Monotonic seconds.
    """

    def __init__(
        self, planned: Mapping[str, float], start: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._planned = dict(planned)
        self._clock = clock
        self._began = self._phase_began = clock()
        self._phase = next(iter(planned))
        self.progress = start
        self._skipped: set[str] = set()
        self._seconds: dict[str, float] = {}

    def at(self, phase: str, share: float) -> tuple[float, float]:
        """Overall progress, 0 to 0.99, and predicted seconds to the end.

        Args:
            phase: One of the planned phases; those before it are done.
            share: Of the phase, 0 to 1.
        """
        now = self._clock()
        if phase != self._phase:
            self._finish_phase(now)
            self._phase, self._phase_began = phase, now
        names = list(self._planned)
        index = names.index(phase)
        total = sum(self._planned.values())
        rest = (1 - share) * self._planned[phase] + sum(self._planned[name] for name in names[index + 1 :])
        done = total - rest
        elapsed, prior = now - self._began, PRIOR * total
        remaining = rest * (elapsed + prior) / (done + prior)
        self.progress = max(self.progress, min(MAX_UNFINISHED, done / total))
        return self.progress, remaining

    def replan(self, planned: Mapping[str, float]) -> None:
        """Use better predictions of the same phases, once the size of the job is known."""
        self._planned = dict(planned)

    def finish(self) -> dict[str, float]:
        """Measured seconds of every phase that ran to its end."""
        self._finish_phase(self._clock())
        return {phase: spent for phase, spent in self._seconds.items() if phase not in self._skipped}

    def skip(self, phase: str) -> None:
        """A phase whose result an earlier attempt left: its time says nothing about its cost."""
        self._planned[phase] = min(self._planned[phase], SKIPPED_S)
        self._skipped.add(phase)

    def _finish_phase(self, now: float) -> None:
        self._seconds[self._phase] = self._seconds.get(self._phase, 0.0) + now - self._phase_began
        self._phase_began = now
