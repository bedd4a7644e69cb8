"""Open event streams: bounded in number, woken by one poller, ended when their key is revoked.

A stream costs one query when its job has news. The poller costs two queries every ``POLL_S``, however many streams
there are, and none while there are none.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import structlog

from service.errors import Overloaded
from service.gateway.state.tenant_slots import quota_exceeded
from service.storage.repositories.watching import WatchRepository

log = structlog.get_logger(__name__)

POLL_S = 0.5


@dataclass(eq=False)
class Watcher:
    """One open stream.

    Attributes:
        tenant: Whose job it follows.
        job: The job.
        key_id: The key that opened it; None for the admin key.
        last: Id of the last event that the stream has been woken for.
        revoked: Whether the key is not valid any more.
        woken: Set when there may be news.
    """

    tenant: str
    job: str
    key_id: str | None
    last: int = -1
    revoked: bool = False
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class EventStreams:
    """All open streams of a gateway.

    Args:
        storage: What the poller asks.
        per_tenant: Streams of one tenant at once.
        total: Streams of the gateway at once.
    """

    def __init__(self, storage: WatchRepository, per_tenant: int, total: int) -> None:
        self._storage = storage
        self._per_tenant = per_tenant
        self._total = total
        self._watchers: set[Watcher] = set()
        self._tenants: Counter[str] = Counter()
        self._opened = asyncio.Event()

    def require_room(self, tenant: str) -> None:
        """Refuse a stream that would exceed a limit.

        Raises:
            QuotaExceeded: The tenant has as many open as it may.
            Overloaded: The gateway has.
        """
        used = self._tenants[tenant]
        if used >= self._per_tenant:
            raise quota_exceeded("max_tenant_event_streams", self._per_tenant, used, retry_after=5.0)
        if len(self._watchers) >= self._total:
            raise Overloaded("Too many event streams are open (max_event_streams); poll instead.", retry_after=5.0)

    @contextlib.contextmanager
    def watch(self, tenant: str, job: str, key_id: str | None) -> Iterator[Watcher]:
        """Register a stream for as long as it is open."""
        watcher = Watcher(tenant, job, key_id)
        self._watchers.add(watcher)
        self._tenants[tenant] += 1
        self._opened.set()
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)
            self._tenants[tenant] -= 1
            if not self._tenants[tenant]:
                del self._tenants[tenant]

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            if not self._watchers:
                self._opened.clear()
                await self._opened.wait()
            try:
                await self._poll()
            except Exception:
                log.warning("event streams cannot be followed", exc_info=True)
            await asyncio.sleep(POLL_S)

    async def _poll(self) -> None:
        watchers = list(self._watchers)
        jobs = {(watcher.tenant, watcher.job) for watcher in watchers}
        key_ids = {watcher.key_id for watcher in watchers if watcher.key_id is not None}
        last = await asyncio.to_thread(self._storage.last_events, jobs)
        known = await asyncio.to_thread(self._storage.known_keys, key_ids)
        for watcher in watchers:
            newest = last.get((watcher.tenant, watcher.job), 0)
            watcher.revoked = watcher.key_id is not None and watcher.key_id not in known
            if newest != watcher.last or watcher.revoked:  # 0 for a job that was erased, which ends its streams
                watcher.last = newest
                watcher.woken.set()
