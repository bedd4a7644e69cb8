"""Concurrent requests per tenant: a bounded number each, so that one tenant cannot hold all threads or all memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from service.errors import QuotaExceeded


@dataclass
class _Tenant:
    """Requests of one tenant: those that have a slot or wait for one."""

    slots: asyncio.Semaphore
    requests: int = field(default=0)


class TenantSlots:
    """Bounds the requests of each tenant that run at once; for one event loop.

    Args:
        limit: Requests of one tenant at once; None for no limit.
        setting: Name of the setting, for the error message.
        wait_seconds: Time that a request may wait for a slot.
    """

    def __init__(self, limit: int | None, setting: str, wait_seconds: float = 0.0) -> None:
        self._limit = limit
        self._setting = setting
        self._wait_seconds = wait_seconds
        self._tenants: dict[str, _Tenant] = {}

    @contextlib.asynccontextmanager
    async def hold(self, tenant: str) -> AsyncIterator[None]:
        """Take a slot for the time of a request.

        Raises:
            QuotaExceeded: All slots of the tenant are taken, and none became free in time.
        """
        if self._limit is None:
            yield
            return
        held = self._tenants.setdefault(tenant, _Tenant(asyncio.Semaphore(self._limit)))
        held.requests += 1
        try:
            await self._acquire(held)
            try:
                yield
            finally:
                held.slots.release()
        finally:
            held.requests -= 1
            if not held.requests:
                del self._tenants[tenant]

    async def _acquire(self, held: _Tenant) -> None:
        if not held.slots.locked():
            await held.slots.acquire()  # at once
            return
        limit = self._limit or 0
        refusal = quota_exceeded(self._setting, limit, limit, retry_after=1.0)
        if not self._wait_seconds:
            raise refusal
        try:
            await asyncio.wait_for(held.slots.acquire(), self._wait_seconds)
        except asyncio.TimeoutError:
            raise refusal from None


def quota_exceeded(name: str, limit: int, used: int, *, retry_after: float | None = None) -> QuotaExceeded:
    """The error for a quota that is used up, with its name, limit and use."""
    row = {"loc": "", "rule": name, "message": f"{name} is {limit}; {used} are in use"}
    detail = f"The quota {name} of {limit} is used up: {used} are in use."
    return QuotaExceeded(detail, errors=[row], retry_after=retry_after)
