"""Watches the jobs table from the gateway: resends lost messages, ends attempts that outlived their deadline.

Any number of replicas may do so at once: a duplicate message is harmless, because a job can be claimed only once.
"""

from __future__ import annotations

import asyncio

import structlog
from anyio import to_thread

from service.jobs.queue import JobQueue
from service.storage.store import Storage

log = structlog.get_logger(__name__)

INTERVAL_S = 1.0
RESEND_AFTER_S = 15.0


class LostJobRequeuer:
    """Finds queued jobs without a message, running jobs without a worker, and attempts past their deadline.

    Args:
        storage: Where the jobs are.
        queue: Where their messages go.
    """

    def __init__(self, storage: Storage, queue: JobQueue) -> None:
        self._storage = storage
        self._queue = queue

    def run_once(self) -> int:
        """Check once; the number of messages sent. Blocks."""
        self._end_overdue()
        dispatch = self._storage.dispatch
        sent = 0
        for tenant, job_id, kind in [*dispatch.unsent_jobs(RESEND_AFTER_S), *dispatch.orphaned_jobs()]:
            if not self._queue.send(tenant, job_id, kind):
                break
            dispatch.mark_sent(tenant, job_id)
            sent += 1
        return sent

    def _end_overdue(self) -> None:
        for tenant, job_id in self._storage.dispatch.overdue_jobs():
            state = self._storage.tenant(tenant).end_overdue(job_id)
            if state is not None:
                log.warning("job ended at its time limit from outside its worker", job=job_id, state=state.value)

    async def run(self) -> None:
        """Check every second until cancelled; a failed check is logged and repeated."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            try:
                await to_thread.run_sync(self.run_once)
            except Exception:
                log.warning("checking the job queue failed; trying again", exc_info=True)
