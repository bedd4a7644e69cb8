"""TorchServe instances: which of them answer, and when one that failed is asked again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import structlog

from service.storage.prompt_cache.cache import EngineStats

log = structlog.get_logger(__name__)

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0
STARTING_PAUSE_S = 0.5
MAX_CONSECUTIVE_FAILURES = 3  # failures in a row that each have an innocent explanation, such as a full queue


@dataclass(eq=False)
class Instance:
    """One instance, by the address of its inference API.

    Attributes:
        url: The address, without a slash at its end.
        in_flight: Rows that it has at present.
        healthy: Whether rows go to it.
        failures: Failures since its last success.
        ejected: Set while no rows go to it.
        ejections: How often it was taken out.
        backbone_sha256: The backbone it said it runs on, once it has.
        refused: Why its backbone will not do, if so.
        figures: What it last said of itself.
    """

    url: str
    in_flight: int = 0
    healthy: bool = False
    failures: int = 0
    ejected: asyncio.Event = field(default_factory=asyncio.Event)
    ejections: int = 0
    backbone_sha256: str | None = None
    rejection_reason: str | None = None
    figures: EngineStats | None = None

    def record_success(self) -> None:
        """It answered as it should."""
        self.failures = 0
        if not self.healthy:
            log.info("torchserve_admitted", url=self.url)
            self.healthy = True
            self.ejected.clear()

    def record_failure(self, why: str, *, surely: bool = False) -> None:
        """It did not; `surely` where there is no innocent explanation."""
        self.failures += 1
        if surely or self.failures >= MAX_CONSECUTIVE_FAILURES:
            if self.healthy:
                log.warning("torchserve_ejected", url=self.url, why=why)
                self.ejections += 1
            self.healthy = False
            self.ejected.set()


class InstancePool:
    """All instances; a task for each brings it back after it was ejected.

    Args:
        urls: Addresses of inference APIs.
        probe: Whether an instance completes a real prediction; called again and again, with growing pauses.
    """

    def __init__(self, urls: Sequence[str], probe: Callable[[Instance], Awaitable[bool]]) -> None:
        self.all = [Instance(url.strip().rstrip("/")) for url in urls]
        self._probe = probe
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to look after them; none is healthy before its first probe."""
        for server in self.all:
            server.ejected.set()
            self._tasks.append(asyncio.create_task(self._health_loop(server)))

    async def stop(self) -> None:
        """Look after them no longer."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def pick(self, *, but: Instance | None = None) -> Instance | None:
        """The healthy one with the fewest rows, other than `but`."""
        healthy = [server for server in self.all if server.healthy and server is not but]
        return min(healthy, key=lambda server: server.in_flight, default=None)

    async def _health_loop(self, server: Instance) -> None:
        while True:
            await server.ejected.wait()
            pause = FIRST_PAUSE_S
            while not server.healthy:
                if await self._probe(server):
                    server.record_success()
                else:
                    await asyncio.sleep(pause)
                    # One that has never worked is starting, most likely, and somebody waits for it.
                    pause = min(2 * pause, LONGEST_PAUSE_S if server.ejections else STARTING_PAUSE_S)
