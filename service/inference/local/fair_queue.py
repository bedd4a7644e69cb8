"""A bounded queue of rows that serves tenants in turn, so that a busy one delays itself and not the others."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from service.inference.interface import CacheLayer, PredictionInput, PromptedModel
from skeleton_prompt.model.prompt_file import Array, Prompt


@dataclass(eq=False)
class Row:
    """A question on its way, with the prompt that was found for it and the model that runs it."""

    input: PredictionInput
    prompt: Prompt
    model: PromptedModel
    cache: CacheLayer
    prompt_ms: float
    queued: float = field(default_factory=time.monotonic)
    done: Future[tuple[Array | Exception, float, float]] = field(default_factory=Future)

    @property
    def is_pending(self) -> bool:
        """Whether somebody still waits for the answer."""
        return not self.done.done() and time.monotonic() < self.input.deadline


class FairQueue:
    """Rows by tenant; tenants take turns, one row each.

    Args:
        capacity: How many rows may wait.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._rows: dict[str, deque[Row]] = {}
        self._count = 0
        self._closed = False
        self._errands: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return self._count

    def put(self, row: Row, most: int | None = None) -> Row | None:
        """Add a row, where fewer than ``most`` wait, and fewer than the capacity.

        A full queue makes room for a tenant that has less than its share, at the cost of the tenant that has most.

        Returns:
            None, or the row that finds no place: this one, or the newest of the tenant that has most.
        """
        with self._changed:
            if self._closed or not self._has_room(row.input.ref.tenant, most):
                return row
            displaced = self._make_room() if self._is_full(most) else None
            self._rows.setdefault(row.input.ref.tenant, deque()).append(row)
            self._count += 1
            self._changed.notify()
            return displaced

    def has_room(self, tenant: str, most: int | None = None) -> bool:
        """Whether a row of this tenant would find a place now; see ``put``."""
        with self._changed:
            return self._has_room(tenant, most)

    def submit_control_task(self, task: Callable[[], None]) -> None:
        """Have the engine's thread run a task before its next batch."""
        with self._changed:
            self._errands.append(task)
            self._changed.notify()

    def take(self, most: int) -> tuple[list[Callable[[], None]], list[Row]]:
        """Wait for work: errands, or at most ``most`` rows that somebody still wants; two empty lists when closed."""
        with self._changed:
            while True:
                errands = list(self._errands)
                self._errands.clear()
                rows = [] if errands else self._next_rows(most)
                if errands or rows or self._closed:
                    return errands, rows
                self._changed.wait()

    def close(self) -> list[Row]:
        """Take no more rows; gives those that still waited."""
        with self._changed:
            self._closed = True
            left = [row for rows in self._rows.values() for row in rows]
            self._rows.clear()
            self._count = 0
            self._changed.notify_all()
            return left

    def _next_rows(self, most: int) -> list[Row]:
        rows: list[Row] = []
        while self._rows and len(rows) < most:
            tenant, waiting = next(iter(self._rows.items()))
            row = waiting.popleft()
            self._count -= 1
            # To the back of the line: the order of a dict is the order of insertion.
            del self._rows[tenant]
            if waiting:
                self._rows[tenant] = waiting
            if row.is_pending:
                rows.append(row)
        return rows

    def _is_full(self, most: int | None) -> bool:
        return self._count >= min(self.capacity, most or self.capacity)

    def _has_room(self, tenant: str, most: int | None) -> bool:
        longest = max(map(len, self._rows.values()), default=0)
        return not self._is_full(most) or longest > len(self._rows.get(tenant, ())) + 1

    def _make_room(self) -> Row:
        tenant, theirs = max(self._rows.items(), key=lambda item: len(item[1]))
        displaced = theirs.pop()
        self._drop_empty_tenant(tenant)
        self._count -= 1
        return displaced

    def _drop_empty_tenant(self, tenant: str) -> None:
        if not self._rows[tenant]:
            del self._rows[tenant]
