"""Predicted durations of tuning jobs: work units per phase times measured seconds per unit.

Each phase of a job has a unit whose number is known before the job starts. A worker that finishes a job reports how
long every phase took, and the stored rates follow as an exponential moving average in the logarithm, so that one slow
job does not spoil them. The defaults are those of two cores of a server of 2024.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

MAX_CLIP_WINDOWS = 256  # of longer clips so many windows teach; ``training.jobs.training_examples`` thins them
WINDOW_SECONDS = 10.0
WEIGHT = 0.3  # of a new measurement in the moving average
DEFAULT_RATES = {"validate": 0.005, "features": 0.014, "first": 0.008, "refine": 25.0, "tune": 2.0}
FIRST_PHASES = ("validate", "features", "first", "refine")  # of a job that publishes a first version
PHASES = ("validate", "features", "tune")  # of a job that publishes one version
MIN_SECONDS = 0.05


@dataclass(frozen=True)
class Work:
    """The size of a job.

    Attributes:
        clips: Number of clips.
        windows: Number of windows of all clips.
    """

    clips: int
    windows: int

    def units(self, phase: str) -> float:
        """Work units of a phase."""
        if phase == "features":
            return max(1.0, self.windows)
        if phase in ("refine", "tune"):  # mostly a fixed number of optimiser steps
            return 1.0 + self.clips / 200
        return max(1.0, self.clips)


def clip_windows(frames: int, fps: float) -> int:
    """Number of windows that a clip teaches with."""
    return min(MAX_CLIP_WINDOWS, max(1, math.ceil(frames / max(fps, 1e-6) / WINDOW_SECONDS)))


def phases(*, refines: bool) -> tuple[str, ...]:
    """Phases of a job; ``refines`` says whether it publishes a first version before the refined one."""
    return FIRST_PHASES if refines else PHASES


def predicted_seconds(work: Work, rates: Mapping[str, float], *, refines: bool) -> dict[str, float]:
    """Predicted seconds per phase, in order.

    Args:
        work: The size of the job.
        rates: Measured seconds per unit by phase; phases without one use the default.
        refines: See ``phases``.
    """
    return {
        phase: max(MIN_SECONDS, work.units(phase) * (rates.get(phase) or DEFAULT_RATES[phase]))
        for phase in phases(refines=refines)
    }


def averaged(before: float | None, measured: float) -> float:
    """Moving average of a rate; the first measurement counts half against the default."""
    if before is None:
        return measured
    return math.exp((1 - WEIGHT) * math.log(before) + WEIGHT * math.log(measured))
