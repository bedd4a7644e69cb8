"""Rates of work per tenant (GCRA, the generic cell rate algorithm); no limit unless the setting asks for one.

The unit is one window of up to 10 seconds of one person, which is what a forward pass costs. A request passes while its
tenant has any of its rate left and is then charged what it costs, so a request that costs more than is left delays the
next ones: over time a tenant gets exactly its rate, and a batch larger than the rate is still possible.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from limits import parse

from service.errors import RateLimited
from service.redis_client import connect

log = structlog.get_logger(__name__)

MAX_TENANTS = 100_000  # remembered in memory; a forgotten one starts with its whole rate
REDIS_TIMEOUT_S = 0.2
# KEYS[1]: the tenant's theoretical arrival time. ARGV: interval and period in seconds, cost, whether to refuse.
# By Redis's clock, which all replicas share. Answers: whether it passes, and seconds of debt afterwards.
SCRIPT = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local arrival = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
if ARGV[4] == '1' and arrival - now > ARGV[2] - ARGV[1] + 0.000001 then
  return {0, tostring(arrival - now)}
end
arrival = arrival + ARGV[1] * ARGV[3]
redis.call('SET', KEYS[1], string.format('%.6f', arrival), 'PX', math.ceil((arrival - now) * 1000) + 1)
return {1, tostring(arrival - now)}
"""


@dataclass(frozen=True)
class RateStatus:
    """What is left of a tenant's rate, as the ``RateLimit`` header fields say it.

    Attributes:
        limit: Units per window.
        window: Seconds.
        remaining: Units that are left now.
        reset: Seconds until the whole limit is there again.
    """

    limit: int
    window: int
    remaining: int
    reset: int

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """``RateLimit-Policy`` and ``RateLimit`` (draft-ietf-httpapi-ratelimit-headers)."""
        return [
            (b"ratelimit-policy", b'"work";q=%d;w=%d' % (self.limit, self.window)),
            (b"ratelimit", b'"work";r=%d;t=%d' % (self.remaining, self.reset)),
        ]


class RateLimiter:
    """Charges the work of tenants against the ``rate_limit`` setting.

    Args:
        rate: Such as ``100/second``, or None for no limit.
        redis_url: Where replicas count together; without it each counts for itself.
    """

    def __init__(self, rate: str | None, redis_url: str | None = None) -> None:
        self._rate = parse(rate) if rate else None
        if self._rate is None:
            return
        self._period = float(self._rate.get_expiry())
        self._interval = self._period / self._rate.amount
        self._charge: Callable[[str, int, bool], tuple[bool, float]] = _MemoryArrivals(
            self._interval, self._period
        ).charge
        # A private Redis serves this process alone, so its own memory counts as well and cannot fail.
        if redis_url and redis_url.startswith(("redis://", "rediss://")):
            self._charge = self._redis(redis_url)

    @property
    def enabled(self) -> bool:
        """Whether there is a limit."""
        return self._rate is not None

    def check(self, tenant: str, cost: int = 1) -> RateStatus | None:
        """Charge a request of a tenant, if any of its rate is left.

        Raises:
            RateLimited: Nothing is left.
        """
        return self._spend(tenant, cost, refuse=True)

    def charge(self, tenant: str, cost: int) -> RateStatus | None:
        """Charge what an admitted request costs beyond what ``check`` has charged."""
        return self._spend(tenant, cost, refuse=False) if cost > 0 else None

    def exhausted(self, seconds: float) -> RateStatus | None:
        """The status of a tenant that was refused for so many seconds."""
        if self._rate is None:
            return None
        return RateStatus(self._rate.amount, math.ceil(self._period), 0, math.ceil(seconds))

    def _spend(self, tenant: str, cost: int, *, refuse: bool) -> RateStatus | None:
        if self._rate is None:
            return None
        try:
            passes, debt = self._charge(tenant, cost, refuse)
        except Exception:
            # Redis may vanish at any moment: then there is no limit, rather than no service.
            log.warning("rate limits cannot be counted", exc_info=True)
            return None
        left = max(0, math.floor((self._period - debt) / self._interval + 1e-6))
        status = RateStatus(self._rate.amount, math.ceil(self._period), left, math.ceil(debt))
        if passes:
            return status
        wait = max(1.0, math.ceil(debt - self._period + self._interval))
        raise RateLimited(f"More than {self._rate} (rate_limit).", retry_after=wait)

    def _redis(self, url: str) -> Callable[[str, int, bool], tuple[bool, float]]:
        client = connect(url, REDIS_TIMEOUT_S)
        script = client.register_script(SCRIPT)

        def charge(tenant: str, cost: int, refuse: bool) -> tuple[bool, float]:
            arguments = [self._interval, self._period, cost, int(refuse)]
            passes, debt = script(keys=[f"LIMITS:{tenant}"], args=arguments)
            return bool(passes), float(debt)

        return charge


class _MemoryArrivals:
    """Theoretical arrival times by tenant, in memory."""

    def __init__(self, interval: float, period: float) -> None:
        self._interval = interval
        self._period = period
        self._arrivals: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def charge(self, tenant: str, cost: int, refuse: bool) -> tuple[bool, float]:
        """Whether a request passes, and the seconds of debt after it."""
        now = time.monotonic()
        with self._lock:
            arrival = max(self._arrivals.get(tenant, 0.0), now)
            if refuse and arrival - now > self._period - self._interval + 1e-6:
                return False, arrival - now
            arrival += self._interval * cost
            self._arrivals[tenant] = arrival
            self._arrivals.move_to_end(tenant)
            if len(self._arrivals) > MAX_TENANTS:
                self._arrivals.popitem(last=False)
        return True, arrival - now
