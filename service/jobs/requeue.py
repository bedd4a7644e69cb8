"""Sends again what got lost: queued jobs whose message is gone, running jobs whose worker is.

Any number of replicas may sweep at once: a message more is harmless, because a job can be claimed only once.
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
    """Looks for jobs that nobody works on.

    Args:
        storage: Where the jobs are.
        queue: Where their messages go.
    """

    def __init__(self, storage: Storage, queue: JobQueue) -> None:
        self._storage = storage
        self._queue = queue

    def run_once(self) -> int:
        """Look once; how many messages went out. Blocks."""
        admin = self._storage.admin
        sent = 0
        for tenant, job_id, kind in [*admin.unsent_jobs(RESEND_AFTER_S), *admin.orphaned_jobs()]:
            if not self._queue.send(tenant, job_id, kind):
                break
            admin.mark_sent(tenant, job_id)
            sent += 1
        return sent

    async def run(self) -> None:
        """Look for ever; what goes wrong is tried again."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            try:
                await to_thread.run_sync(self.run_once)
            except Exception:
                log.warning("sweeping failed; trying again", exc_info=True)
