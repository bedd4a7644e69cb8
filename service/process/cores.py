"""Number of threads for background work, so that predictions keep a core."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

THREADS = "OMP_NUM_THREADS"  # read by OpenBLAS, MKL and OpenMP when they are loaded


def usable_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def background_threads() -> int:
    """Threads of a training worker: one core is left to predictions."""
    return max(1, usable_cores() - 1)


def limit_native_threads(environment: MutableMapping[str, str]) -> None:
    """Limit the threads of linear algebra, unless the environment already says how many.

    By default these libraries take one thread per core and spin while they wait for each other: on a machine that also
    predicts, an eigendecomposition then takes many times as long as on one thread.
    """
    environment.setdefault(THREADS, str(background_threads()))
