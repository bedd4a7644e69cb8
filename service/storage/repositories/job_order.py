"""Order of the job queue: round robin among tenants, so that no tenant's backlog delays another's first job."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from service.storage.records import JobKind

DEFAULT_SECONDS = 30.0  # estimate of a job that was queued without one


@dataclass(frozen=True)
class QueuedJob:
    """A job that waits for a worker.

    Attributes:
        estimate: Predicted seconds of work, if known.
        target: SHA-256 of the backbone that its worker must run, None for any.
    """

    tenant: str
    id: str
    kind: JobKind
    created: float
    estimate: float | None = None
    target: str | None = None


def fair_order(waiting: Iterable[QueuedJob], last_started: Mapping[str, float]) -> list[QueuedJob]:
    """Sort queued jobs into the order in which workers take them.

    Jobs that tenants asked for come before backbone upgrades. Within a kind tenants take turns: next is the tenant
    whose last job started longest ago, ties by the time of the request. A tenant's own jobs keep their order.

    Args:
        waiting: All queued jobs, in any order.
        last_started: Seconds since 1970 at which a job of each tenant was started last.
    """
    ordered: list[QueuedJob] = []
    served = dict(last_started)
    turn = max(served.values(), default=0.0)
    for kind in (JobKind.TUNE, JobKind.BACKBONE_UPGRADE):
        queues: dict[str, deque[QueuedJob]] = defaultdict(deque)
        for job in sorted((one for one in waiting if one.kind is kind), key=lambda one: (one.created, one.id)):
            queues[job.tenant].append(job)
        heap = [(served.get(tenant, -math.inf), q[0].created, q[0].id, tenant) for tenant, q in queues.items()]
        heapq.heapify(heap)
        while heap:
            _, _, _, tenant = heapq.heappop(heap)
            ordered.append(queues[tenant].popleft())
            turn += 1.0
            served[tenant] = turn
            if queues[tenant]:
                head = queues[tenant][0]
                heapq.heappush(heap, (turn, head.created, head.id, tenant))
    return ordered


@dataclass(frozen=True)
class QueueState:
    """The queue at one moment.

    Attributes:
        order: Queued jobs in the order in which they will be taken.
        running: Predicted seconds to the end of every running job.
    """

    order: tuple[QueuedJob, ...]
    running: tuple[float, ...]

    def place(self, tenant: str, job_id: str) -> tuple[int | None, float | None]:
        """Number of jobs before a queued one, and predicted seconds to its end; (None, None) if it is not queued."""
        before = sum(self.running)
        for position, job in enumerate(self.order):
            if (job.tenant, job.id) == (tenant, job_id):
                own = job.estimate or DEFAULT_SECONDS
                return position, round(before / max(1, len(self.running)) + own, 1)
            before += job.estimate or DEFAULT_SECONDS
        return None, None
