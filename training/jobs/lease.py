"""A worker's lease on a job: renewed and watched by a thread, checked before every piece of work.

The lease in the database is what counts; this side only learns early that it should stop. A worker that was suspended
past its lease finds out at its next write, which the fencing token refuses. Work that does not stop although its time
is up, its job was cancelled or its lease is lost is ended by ending the process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

import structlog

from service.errors import LostLease
from service.storage.records import JobState

if TYPE_CHECKING:
    from service.storage.records import JobRecord
    from service.storage.store import TenantRepository

log = structlog.get_logger(__name__)

SHOW_EVERY_S = 0.5
GRACE_S = 15.0  # from the limit to the end from outside: long enough for one piece of work


class Cancelled(Exception):
    """The tenant cancelled the job."""


class TimeLimitExceeded(Exception):
    """The job took longer than its limit."""


class Requeued(Exception):
    """This worker is stopping; another attempt continues from the checkpoints."""


class Lease:
    """Renews a job's lease in a thread of its own while the job runs; a context manager.

    Args:
        repository: The tenant's.
        job: As claimed.
        lease_s: How long a lease lasts without renewal, in seconds.
        max_seconds: Limit of this attempt.
        stopping: Set when the worker is to stop.
        grace_s: Seconds that work may go on after it should have stopped.
        abandon: Ends the process, where the work did not stop within the grace; by default nothing happens.
    """

    def __init__(
        self,
        repository: TenantRepository,
        job: JobRecord,
        *,
        lease_s: float,
        max_seconds: float,
        stopping: threading.Event,
        grace_s: float = GRACE_S,
        abandon: Callable[[], object] = lambda: None,
    ) -> None:
        self.repository = repository
        self.job = job
        self._lease_s = lease_s
        self._grace_s = grace_s
        self._abandon = abandon
        self._deadline = time.monotonic() + max_seconds
        self.max_seconds = max_seconds
        self._stopping = stopping
        self._cancelled = job.cancel_requested
        self._lost = False
        self._stop_by: float | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"lease-{job.id}", daemon=True)
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

    def _watch(self) -> None:
        every = min(self._lease_s, self._grace_s) / 3
        while not self._done.wait(every):
            if not self._lost:
                self._renew_once()
            if self._overrun():
                return

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

    def _overrun(self) -> bool:
        """End the process if the work should have stopped ``grace_s`` ago; whether that was so."""
        now = time.monotonic()
        should_stop = self._lost or now > self._deadline or (self._cancelled and self.cancellable)
        if not should_stop:
            self._stop_by = None
            return False
        if self._stop_by is None:
            self._stop_by = now + self._grace_s
        if now < self._stop_by or self._done.is_set():
            return False
        log.error("the work does not stop; the worker ends", job=self.job.id, lost=self._lost, cancel=self._cancelled)
        try:
            if self._cancelled and not self._lost:
                self.repository.finish_job(self.job.id, self.job.token, JobState.CANCELLED)
            elif not self._lost:
                self.repository.end_overdue(self.job.id)
        except Exception as error:
            log.warning("the end of the job could not be recorded", job=self.job.id, error=str(error))
        self._abandon()
        return True

    def check(self) -> None:
        """Raise if the work should stop.

        Raises:
            LostLease: Another worker has the job, or it was ended.
            Cancelled: The tenant cancelled it; not while a version is being published.
            TimeLimitExceeded: It took longer than its limit.
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

    @property
    def remaining_s(self) -> float:
        """Seconds until the limit."""
        return max(0.0, self._deadline - time.monotonic())

    def report_progress(
        self, progress: float, step: str, message: str, remaining_s: float | None = None, *, publishing: bool = False
    ) -> None:
        """Check, and record the progress: at every step, and at most twice a second within one.

        Args:
            progress: Share done, 0 to 1.
            step: Name of the step.
            message: For the tenant.
            remaining_s: Predicted seconds to the end.
            publishing: Whether a cancellation would come too late.
        """
        self.check()
        now = time.monotonic()
        if step != self._step or now - self._shown >= SHOW_EVERY_S:
            self._shown, self._step = now, step
            self.repository.progress(
                self.job.id, self.job.token, progress, step, message, publishing=publishing, remaining_s=remaining_s
            )
