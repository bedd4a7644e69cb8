"""Counts predictions per tenant in memory and writes them down now and then: a write per request costs too much."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial

import structlog
from anyio import to_thread

from service.errors import NotFound
from service.storage.store import Storage

log = structlog.get_logger(__name__)

FLUSH_S = 5.0


class UsageCounter:
    """Predictions since the last flush, by tenant. A crash loses at most ``FLUSH_S`` of them."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._counts: Counter[str] = Counter()

    def predicted(self, tenant: str, people: int) -> None:
        """Count predictions."""
        self._counts[tenant] += people

    async def run(self) -> None:
        """Flush for ever."""
        while True:
            await asyncio.sleep(FLUSH_S)
            await self.flush()

    async def flush(self, only: str | None = None) -> None:
        """Write down what was counted; what cannot be written is kept for the next time."""
        counts = {tenant: count for tenant, count in self._counts.items() if only in (None, tenant)}
        for tenant, count in counts.items():
            self._counts[tenant] -= count
            if not self._counts[tenant]:
                del self._counts[tenant]
            try:
                await to_thread.run_sync(partial(self._storage.tenant(tenant).add_usage, predictions=count))
            except NotFound:  # erased meanwhile
                continue
            except Exception:
                log.warning("usage cannot be written", exc_info=True)
                self._counts[tenant] += count

    def forget(self, tenant: str) -> None:
        """Drop the count of a tenant that was erased."""
        self._counts.pop(tenant, None)
