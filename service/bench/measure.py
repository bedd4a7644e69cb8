"""One turn of one row: load on a server, and what its process tree spent on it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from service.bench import load_generator, process_stats
from service.bench.profile import BATCHES
from service.bench.servers import Server, environment

Array = np.ndarray[Any, np.dtype[np.float64]]
_COUNT = re.compile(r"^skeleton_prompt_batch_size_(sum|count) (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class BenchCase:
    """A line of the table: so many tenants that ask a server in one form."""

    server: Server
    form: str
    tenants: int = 1

    @property
    def name(self) -> str:
        """As the tables call it."""
        return f"{self.server.name} · {self.form}" + (f" · {self.tenants} tenants" if self.tenants > 1 else "")


async def run_trial(row: BenchCase, drive: Callable[[Any, Sequence[load_generator.Request]], Any]) -> dict[str, Any]:
    """Load a server in one way and give the summary, with CPU per answer and rows per batch where they can be known."""
    server = row.server
    batches = _batches(server)
    cpu = process_stats.cpu_seconds(server.pid) if server.pid else 0.0
    async with load_generator.connect() as session:
        run = await drive(session, server.requests(row.form, row.tenants))
    found: dict[str, Any] = run.summary()
    if server.pid:
        spent = process_stats.cpu_seconds(server.pid) - cpu
        found["cpu_ms"] = 1000 * spent / max(1, found["answered"])
    rows, count = (after - before for before, after in zip(batches, _batches(server), strict=True))
    if count:
        found["batch"] = rows / count
    return found


def _batches(server: Server) -> tuple[float, float]:
    """Rows and batches so far; zeros where the server does not count them."""
    if server.metrics is None:
        return 0.0, 0.0
    request = urllib.request.Request(server.metrics.url, headers=dict(server.metrics.headers))  # noqa: S310  # our own
    with suppress(OSError), urllib.request.urlopen(request, timeout=5) as page:  # noqa: S310
        found = {name: float(value) for name, value in _COUNT.findall(page.read().decode())}
        return found.get("sum", 0.0), found.get("count", 0.0)
    return 0.0, 0.0


class RawForward:
    """The forward pass alone, in a process that does nothing else; see ``service.bench.forward_only``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.found: dict[tuple[int, int], list[dict[str, float]]] = {}

    def measure(self, batch: int, tenants: int, seconds: float) -> None:
        """Measure once more.

        Raises:
            RuntimeError: The process has ended.
        """
        asked = {"batch": batch, "tenants": tenants, "seconds": seconds}
        self.found.setdefault((batch, tenants), []).append(self._ask(json.dumps(asked)))

    def round(self, tenants: Sequence[int], seconds: float) -> None:
        """Every batch size once, for each number of tenants."""
        for count in tenants:
            for batch in BATCHES:
                self.measure(batch, count, seconds)

    def at(self, batch: float, tenants: int, what: str) -> float:
        """A figure at a batch that need not be whole: straight lines between the medians of those measured.

        Args:
            batch: Rows of a batch, on average.
            tenants: As measured.
            what: ``per_second`` or ``cpu_ms``.
        """
        x = [float(size) for size in BATCHES]
        # Along time per row, which is what adds up; its inverse does not.
        values = [median(found[what] for found in self.found[size, tenants]) for size in BATCHES]
        if what == "per_second":
            return float(1 / np.interp(batch, x, [1 / value for value in values]))
        return float(np.interp(batch, x, values))

    def _ask(self, line: str) -> dict[str, float]:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the process has no pipes")
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the process that measures the forward pass has ended; see its message above")
        found: dict[str, float] = json.loads(answer)
        return found


@contextmanager
def raw_forward(backbone: str) -> Iterator[RawForward]:
    """The process that measures the forward pass, loaded and warm."""
    command = [sys.executable, "-m", "service.bench.forward_only", backbone]
    with subprocess.Popen(  # noqa: S603  # our own command line, no shell
        command, env=environment({}), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            if process.stdout is None or not process.stdout.readline():
                raise RuntimeError("the process that measures the forward pass does not start")
            yield RawForward(process)
        finally:
            process.kill()


def median_of_trials(turns: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The median of every figure over turns; errors are added up."""
    found: dict[str, Any] = {"turns": len(turns), "errors": {}}
    for one in turns:
        for status, count in one["errors"].items():
            found["errors"][status] = found["errors"].get(status, 0) + count
    for name in turns[0]:
        values = [one[name] for one in turns if isinstance(one.get(name), int | float)]
        if values and name != "errors":
            found[name] = median(values)
    return found
