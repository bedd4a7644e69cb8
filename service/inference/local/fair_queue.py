"""Bounded queue of prediction rows with fair sharing among tenants, priced in windows.

Each tenant has a virtual time that advances by the windows computed for it (start-time fair queueing, Goyal et al.
1996); the tenant with the least is served next. A row of more windows than a chunk is *long*: it is computed chunk by
chunk, alone in its batches, and returns to the queue in between, so it delays the rows of others by one chunk at most
and ends at its deadline or when its client leaves.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from service.inference.interface import CacheLayer, PredictionInput, PromptedModel
from skeleton_prompt.model.prompt_file import Array, Prompt
from skeleton_prompt.model.window_batches import windows_of
from skeleton_prompt.model.window_sums import Chunk, WindowSums

WINDOWS_PER_ROW = 4  # a queue for R rows holds at most 4 * R windows: bounds its memory


@dataclass(eq=False)
class Row:
    """A prediction in progress: its input, prompt and model, and how far it is computed.

    Attributes:
        done: Receives the logits or the exception, the milliseconds waited and the milliseconds computed.
        position: Windows computed so far.
        sums: Their sums; None before the first chunk.
        attempts: How many engine processes crashed while they computed it.
        queue_ms: Time until its first chunk.
        forward_ms: Time of the batches it was in.
    """

    input: PredictionInput
    prompt: Prompt
    model: PromptedModel
    cache: CacheLayer
    prompt_ms: float
    queued: float = field(default_factory=time.monotonic)
    done: Future[tuple[Array | Exception, float, float]] = field(default_factory=Future)
    position: int = 0
    sums: WindowSums | None = None
    attempts: int = 0
    queue_ms: float = 0.0
    forward_ms: float = 0.0

    @property
    def tenant(self) -> str:
        """Whose row it is."""
        return self.input.ref.tenant

    @property
    def windows_left(self) -> int:
        """Windows still to compute."""
        return len(self.input.person.pose) - self.position

    @property
    def is_pending(self) -> bool:
        """Whether a caller still waits for the result."""
        return not self.done.done() and time.monotonic() < self.input.deadline

    def chunk(self, most: int) -> Chunk:
        """The next windows of the row, at most so many."""
        person = self.input.person
        stop = min(self.position + most, len(person.pose))
        part = person if stop - self.position == len(person.pose) else windows_of(person, slice(self.position, stop))
        return Chunk(part, self.prompt, self.sums, last=stop == len(person.pose))


@dataclass
class _Tenant:
    """Rows of one tenant that wait, their windows, and the tenant's virtual time."""

    time: float
    rows: deque[Row] = field(default_factory=deque)
    windows: int = 0


class FairQueue:
    """Rows by tenant; see the module for the order.

    Args:
        capacity: Maximum number of rows.
        chunk: Maximum number of windows of one row in one batch.
    """

    def __init__(self, capacity: int, chunk: int = 4) -> None:
        self.capacity = capacity
        self.chunk = chunk
        self._tenants: dict[str, _Tenant] = {}
        self._finished: dict[str, float] = {}  # virtual times of tenants without rows that are ahead of the clock
        self._clock = 0.0
        self._rows = 0
        self._windows = 0
        self._closed = False
        self._tasks: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return self._rows

    def put(self, row: Row) -> Row | None:
        """Add a row.

        A full queue makes room for a tenant that has less than its share, at the cost of the tenant with most windows.

        Returns:
            None, or the row that has no place: this one, or the newest of the tenant with most windows.
        """
        with self._changed:
            if self._closed or not self._has_room(row.tenant, row.windows_left):
                return row
            displaced = self._make_room() if self._is_full() else None
            self._add(row)
            return displaced

    def put_back(self, row: Row) -> bool:
        """Return a row that is not finished to the front of its tenant; False once the queue is closed."""
        with self._changed:
            if not self._closed:
                self._add(row, front=True)
            return not self._closed

    def has_room(self, tenant: str) -> bool:
        """Whether ``put`` would accept a row of one window of this tenant now."""
        with self._changed:
            return not self._closed and self._has_room(tenant, 1)

    def windows_ahead(self, tenant: str) -> int:
        """Windows that are computed before a new row of this tenant: its own, and as many of each other tenant."""
        with self._changed:
            own = self._windows_of(tenant)
            others = (waiting.windows for name, waiting in self._tenants.items() if name != tenant)
            return own + sum(min(windows, own + self.chunk) for windows in others)

    def submit_control_task(self, task: Callable[[], None]) -> None:
        """Have an engine thread run a task when no row waits."""
        with self._changed:
            self._tasks.append(task)
            self._changed.notify()

    def take(self, most: int) -> tuple[list[Callable[[], None]], list[Row]]:
        """Wait for work.

        Args:
            most: Maximum number of windows, of which each row gives up to ``chunk``.

        Returns:
            Rows to compute, or control tasks if no row waits; two empty lists when closed.
        """
        with self._changed:
            while True:
                rows = self._next_rows(most)
                tasks = [] if rows else list(self._tasks)
                if tasks:
                    self._tasks.clear()
                if tasks or rows or self._closed:
                    return tasks, rows
                self._changed.wait()

    def close(self) -> list[Row]:
        """Accept no more rows; returns those that waited."""
        with self._changed:
            self._closed = True
            left = [row for waiting in self._tenants.values() for row in waiting.rows]
            self._tenants.clear()
            self._rows = self._windows = 0
            self._changed.notify_all()
            return left

    def _next_rows(self, most: int) -> list[Row]:
        """A batch of short rows, or one chunk of a long one."""
        rows: list[Row] = []
        passed_over: set[str] = set()
        while most > 0:
            name = self._next_tenant(passed_over)
            if name is None:
                break
            row = self._tenants[name].rows[0]
            if not row.is_pending:
                self._remove(name, row)
                continue
            alone = row.windows_left > self.chunk or row.position > 0 or row.attempts > 0
            if rows and (alone or row.windows_left > most):
                passed_over.add(name)
                continue
            cost = min(row.windows_left, self.chunk)
            self._clock = max(self._clock, self._tenants[name].time)
            self._tenants[name].time += cost
            self._remove(name, row)
            rows.append(row)
            most -= cost
            if alone:
                break
        return rows

    def _next_tenant(self, passed_over: set[str]) -> str | None:
        """The tenant with the least virtual time; the one that waits longest of several."""
        names = (name for name in self._tenants if name not in passed_over) if passed_over else iter(self._tenants)
        return min(names, key=lambda name: self._tenants[name].time, default=None)

    def _add(self, row: Row, *, front: bool = False) -> None:
        waiting = self._tenants.get(row.tenant)
        if waiting is None:
            finished = self._finished.pop(row.tenant, 0.0)
            waiting = self._tenants[row.tenant] = _Tenant(max(self._clock, finished))
        (waiting.rows.appendleft if front else waiting.rows.append)(row)
        waiting.windows += row.windows_left
        self._windows += row.windows_left
        self._rows += 1
        self._changed.notify()

    def _remove(self, name: str, row: Row) -> None:
        waiting = self._tenants[name]
        waiting.rows.remove(row)
        waiting.windows -= row.windows_left
        self._windows -= row.windows_left
        self._rows -= 1
        if not waiting.rows:
            del self._tenants[name]
            if waiting.time > self._clock:
                self._finished[name] = waiting.time
            if len(self._finished) > 2 * self.capacity:
                self._finished = {each: time for each, time in self._finished.items() if time > self._clock}

    def _is_full(self) -> bool:
        return self._rows >= self.capacity or self._windows >= WINDOWS_PER_ROW * self.capacity

    def _has_room(self, tenant: str, windows: int) -> bool:
        most = max((waiting.windows for waiting in self._tenants.values()), default=0)
        return not self._is_full() or most > self._windows_of(tenant) + windows

    def _windows_of(self, tenant: str) -> int:
        waiting = self._tenants.get(tenant)
        return 0 if waiting is None else waiting.windows

    def _make_room(self) -> Row:
        name, waiting = max(self._tenants.items(), key=lambda item: item[1].windows)
        displaced = waiting.rows[-1]
        self._remove(name, displaced)
        return displaced
