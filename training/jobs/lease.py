"""A worker's hold on a job: renewed in the background, checked before every step, given up when it is lost.

The lease in the database is what counts; this side only learns early that it should stop. A worker that was frozen
past its lease finds out at its next write, which the fencing token refuses.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

import structlog

from service.errors import LostLease

if TYPE_CHECKING:
    from service.storage.records import JobRecord
    from service.storage.store import TenantRepository

log = structlog.get_logger(__name__)

SHOW_EVERY_S = 0.5


class Cancelled(Exception):
    """The tenant cancelled the job."""


class TimeLimitExceeded(Exception):
    """The job took longer than it may."""


class Requeued(Exception):
    """This worker is stopping; another attempt continues from the checkpoints."""


class Lease:
    """Renews a job's lease in a thread of its own while the job runs; a context manager.

    Args:
        repository: The tenant's.
        job: As claimed.
        lease_s: How long a lease lasts without renewal, in seconds.
        max_seconds: How long this attempt may take.
        stopping: Set when the worker is to stop.
    """

    def __init__(
        self,
        repository: TenantRepository,
        job: JobRecord,
        *,
        lease_s: float,
        max_seconds: float,
        stopping: threading.Event,
    ) -> None:
        self.repository = repository
        self.job = job
        self._lease_s = lease_s
        self._deadline = time.monotonic() + max_seconds
        self.max_seconds = max_seconds
        self._stopping = stopping
        self._cancelled = job.cancel_requested
        self._lost = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"lease-{job.id}", daemon=True)
        self._shown = 0.0
        self._step = ""
        self.cancellable = True

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join(timeout=self._lease_s)

    def _renew(self) -> None:
        while not self._lost and not self._done.wait(self._lease_s / 3):
            self._renew_once()

    def _renew_once(self) -> None:
        try:
            job = self.repository.heartbeat(self.job.id, self.job.token)
        except LostLease:
            self._lost = True
        except Exception as error:
            # The database may be busy or away for a moment; only a lease that ran out is a loss.
            log.warning("the lease could not be renewed", job=self.job.id, error=str(error))
        else:
            self._cancelled = self._cancelled or job.cancel_requested

    def check(self) -> None:
        """Raise if the work should stop.

        Raises:
            LostLease: Another worker has the job.
            Cancelled: The tenant wants it no more (until the version is being published).
            TimeLimitExceeded: It took longer than it may.
            Requeued: The worker is stopping.
        """
        if self._lost:
            raise LostLease(f"the lease of job {self.job.id} went to another worker")
        if not self.cancellable:
            return
        if self._cancelled:
            raise Cancelled
        if time.monotonic() > self._deadline:
            raise TimeLimitExceeded(f"the tuning took longer than its limit of {self.max_seconds:g} s (max_seconds)")
        if self._stopping.is_set():
            raise Requeued

    def report_progress(self, progress: float, step: str, message: str) -> None:
        """Check, and let the tenant see how far the job is: every step, and at most twice a second within one."""
        self.check()
        now = time.monotonic()
        if step != self._step or now - self._shown >= SHOW_EVERY_S:
            self._shown, self._step = now, step
            self.repository.progress(self.job.id, self.job.token, progress, step, message)
