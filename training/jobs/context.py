"""What a worker process gives to every job that it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from skeleton_prompt.model.engine import Engine
from skeleton_prompt.model.prompt_file import PromptRef
from training.tuning.tune import TuneConfig

if TYPE_CHECKING:
    from service.storage.store import Storage

DEFAULT_SECONDS = 3600.0


@dataclass(frozen=True)
class WorkerContext:
    """Everything that does not depend on the job.

    Attributes:
        storage: Database and blobs.
        engine: On the worker's own backbone.
        name: Of the worker, for the log and the claim.
        lease_s: How long a claim lasts without renewal, in seconds.
        max_seconds: Upper bound of a job's own limit.
        temporal_seconds: Maximum seconds for the temporal part; 0 leaves it out.
        stopping: Set when the worker is to stop.
        old_engine: Gives an engine on an older backbone by its SHA-256, to ask versions made on it; None has none.
        on_published: Called with each version and its file once these have passed the canary, before they can be
            active; must not raise.
        keep_backbone: Stores the file of the worker's backbone, before a prompt needs it.
        abandon: Ends the process, where a job does not stop at its limit.
    """

    storage: Storage
    engine: Engine
    name: str
    lease_s: float = 10.0
    max_seconds: float = DEFAULT_SECONDS
    temporal_seconds: float = TuneConfig.temporal_seconds
    stopping: threading.Event = field(default_factory=threading.Event)
    old_engine: Callable[[str], Engine] | None = None
    keep_backbone: Callable[[], object] = lambda: None
    on_published: Callable[[PromptRef, bytes], object] = lambda _ref, _data: None
    abandon: Callable[[], object] = lambda: None
