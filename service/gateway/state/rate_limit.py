"""Rate limits per tenant; none unless the setting asks for them."""

from __future__ import annotations

import time

import structlog
from limits import parse
from limits.storage import MemoryStorage, storage_from_string
from limits.strategies import MovingWindowRateLimiter

from service.errors import RateLimited

log = structlog.get_logger(__name__)


class RateLimiter:
    """Counts requests of tenants against the ``rate_limit`` setting.

    Args:
        rate: Such as ``100/second``, or None for no limit.
        redis_url: Where replicas count together; without it each counts for itself.
    """

    def __init__(self, rate: str | None, redis_url: str | None = None) -> None:
        self._rate = parse(rate) if rate else None
        if self._rate is None:
            return
        shared = redis_url if redis_url and redis_url.startswith(("redis://", "rediss://")) else None
        # A private Redis serves this process alone, so its own memory counts as well and cannot fail.
        storage = storage_from_string(shared, socket_timeout=0.2) if shared else MemoryStorage()
        self._limiter = MovingWindowRateLimiter(storage)  # type: ignore[arg-type, unused-ignore]

    @property
    def enabled(self) -> bool:
        """Whether there is a limit."""
        return self._rate is not None

    def check(self, tenant: str) -> None:
        """Count one request of a tenant.

        Raises:
            RateLimited: It is one too many.
        """
        if self._rate is None:
            return
        try:
            if self._limiter.hit(self._rate, tenant):
                return
            reset = self._limiter.get_window_stats(self._rate, tenant).reset_time
        except Exception:
            # Redis may vanish at any moment: then there is no limit, rather than no service.
            log.warning("rate limits cannot be counted", exc_info=True)
            return
        raise RateLimited(f"More than {self._rate} (rate_limit).", retry_after=max(1.0, reset - time.time()))
