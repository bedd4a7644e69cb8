"""The load generator: many requests over kept connections, each with what became of it.

A *closed* loop has so many clients, each of which asks again as soon as it has its answer: it finds the throughput. An
*open* loop sends at given moments whatever the answers do, and counts a request's time from the moment at which it was
due, so that a server that stalls cannot hide how long its clients would have waited.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import numpy as np

TIMEOUT_S = 60.0
BROKEN = 0  # the status of a request that got no answer


@dataclass(frozen=True)
class Request:
    """One request, ready to be sent."""

    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Outcome:
    """What became of a request.

    Attributes:
        due: Seconds after the start at which it was to be sent.
        ms: From then until the last byte of the answer.
        status: Of HTTP, or ``BROKEN``.
        headers: Those of ``KEPT`` that the answer had.
    """

    due: float
    ms: float
    status: int
    headers: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """Whether it was answered as asked."""
        return self.status == 200


KEPT = ("X-Prompt-Cache", "Server-Timing", "Retry-After")
Tick = Callable[[], object]


@dataclass(frozen=True)
class Run:
    """All requests of one run, and how long it took from the first one sent to the last one answered."""

    outcomes: Sequence[Outcome]
    seconds: float

    def summary(self) -> dict[str, Any]:
        """Counts, answers a second, and percentiles in ms of those answered."""
        times = [outcome.ms for outcome in self.outcomes if outcome.ok]
        bad = Counter(str(outcome.status) for outcome in self.outcomes if not outcome.ok)
        return {
            "requests": len(self.outcomes),
            "answered": len(times),
            "errors": dict(bad),
            "seconds": round(self.seconds, 3),
            "per_second": len(times) / self.seconds if self.seconds > 0 else 0.0,
            **percentiles(times),
        }


def percentiles(times: Sequence[float]) -> dict[str, float | None]:
    """p50, p95, p99 and the longest of times; None where there are none."""
    if not times:
        return {"p50_ms": None, "p95_ms": None, "p99_ms": None, "max_ms": None}
    p50, p95, p99 = np.percentile(np.asarray(times), (50, 95, 99))
    return {"p50_ms": float(p50), "p95_ms": float(p95), "p99_ms": float(p99), "max_ms": float(max(times))}


def even_arrivals(rate: float, seconds: float) -> list[float]:
    """Moments at equal distances, in seconds after the start."""
    return [number / rate for number in range(int(rate * seconds))]


def random_arrivals(rate: float, seconds: float, seed: int = 0) -> list[float]:
    """Moments of a Poisson process: as many clients that know nothing of each other would ask."""
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(1.0 / rate, size=int(rate * seconds * 2) + 16)
    moments = np.cumsum(gaps)
    return [float(moment) for moment in moments[moments < seconds]]


def connect() -> aiohttp.ClientSession:
    """A session that keeps as many connections open as are needed."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout)


async def closed_loop(
    session: aiohttp.ClientSession,
    requests: Sequence[Request],
    *,
    clients: int,
    seconds: float,
    most: int | None = None,
    tick: Tick = lambda: None,
) -> Run:
    """Ask with so many clients at once; each takes the next request of the list, and after the last the first.

    Args:
        session: See ``connect``.
        requests: What to send, over and over.
        clients: How many ask at once.
        seconds: After which no new request is sent.
        most: Requests after which none is sent either.
        tick: Called after each answer.
    """
    began = time.perf_counter()
    turn: Iterator[Request] = itertools.islice(itertools.cycle(requests), most)
    outcomes: list[Outcome] = []

    async def client() -> None:
        while (due := time.perf_counter() - began) < seconds:
            request = next(turn, None)
            if request is None:
                return
            outcomes.append(await _send(session, request, began, due))
            tick()

    await asyncio.gather(*(client() for _ in range(clients)))
    return Run(outcomes, time.perf_counter() - began)


async def open_loop(
    session: aiohttp.ClientSession,
    requests: Sequence[Request],
    arrivals: Sequence[float],
    *,
    tick: Tick = lambda: None,
) -> Run:
    """Send a request at each of these moments, in seconds after the start, whether or not those before are answered."""
    began = time.perf_counter()
    turn = itertools.cycle(requests)
    outcomes: list[Outcome] = []

    async def one(request: Request, due: float) -> None:
        outcomes.append(await _send(session, request, began, due))
        tick()

    tasks = []
    for due in arrivals:
        await asyncio.sleep(max(0.0, due - (time.perf_counter() - began)))
        tasks.append(asyncio.create_task(one(next(turn), due)))
    await asyncio.gather(*tasks)
    return Run(outcomes, time.perf_counter() - began)


async def _send(session: aiohttp.ClientSession, request: Request, began: float, due: float) -> Outcome:
    """Send one request and read all of its answer; whatever happens is an outcome."""
    status, kept = BROKEN, {}
    try:
        async with session.post(request.url, data=request.body, headers=request.headers) as response:
            await response.read()
            status = response.status
            kept = {name: response.headers[name] for name in KEPT if name in response.headers}
    except (aiohttp.ClientError, asyncio.TimeoutError, OSError):
        status = BROKEN
    return Outcome(due, 1000 * (time.perf_counter() - began - due), status, kept)
