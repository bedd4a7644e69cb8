"""Turns of long rows at TorchServe, shared fairly among tenants by windows.

TorchServe serves its queue first in, first out and takes nothing back. So a long row is sent chunk by chunk, and only
as many chunks of long rows are on their way as there are instances: a row of another tenant waits for one chunk.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable

import anyio

from service.errors import DeadlineExceeded


class FairTurns:
    """A semaphore whose waiters are served by their tenant's virtual time; see ``local.fair_queue``.

    Args:
        places: How many turns there may be at once, looked up each time.
    """

    def __init__(self, places: Callable[[], int]) -> None:
        self._places = places
        self._taken = 0
        self._clock = 0.0
        self._waiting: dict[str, deque[tuple[asyncio.Future[None], int]]] = {}
        self._times: dict[str, float] = {}

    @contextlib.asynccontextmanager
    async def turn(self, tenant: str, windows: int, deadline: float = math.inf) -> AsyncIterator[None]:
        """Wait for a turn and hold it for the block.

        Args:
            tenant: Whose turn it is.
            windows: What it costs.
            deadline: Time (``time.monotonic``) until which to wait.

        Raises:
            DeadlineExceeded: There was no turn in time.
        """
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._times[tenant] = max(self._times.get(tenant, 0.0), self._clock)
        self._waiting.setdefault(tenant, deque()).append((turn, windows))
        self._serve()
        try:
            with anyio.fail_after(deadline - time.monotonic()):
                await turn
            yield
        except TimeoutError:
            if turn.done() and not turn.cancelled():  # of the block
                raise
            raise DeadlineExceeded("The prediction was not ready before its deadline.") from None
        finally:
            if turn.cancelled():
                waiting = self._waiting.get(tenant, deque())
                with contextlib.suppress(ValueError):  # already skipped
                    waiting.remove((turn, windows))
                self._forget(tenant)
            else:
                self._taken -= 1
            self._serve()

    def _serve(self) -> None:
        while self._waiting and self._taken < max(1, self._places()):
            tenant = min(self._waiting, key=lambda name: self._times[name])
            turn, windows = self._waiting[tenant].popleft()
            if turn.done():  # cancelled
                self._forget(tenant)
                continue
            self._clock = self._times[tenant]
            self._times[tenant] += windows
            self._taken += 1
            turn.set_result(None)
            self._forget(tenant)

    def _forget(self, tenant: str) -> None:
        """Drop a tenant that has no waiter, and the times that the clock has passed."""
        if not self._waiting.get(tenant):
            self._waiting.pop(tenant, None)
        if len(self._times) > 64 + 2 * len(self._waiting):
            self._times = {
                name: time for name, time in self._times.items() if time > self._clock or name in self._waiting
            }
