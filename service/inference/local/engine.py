"""Engine of the gateway itself: dynamic batching over a fair queue.

An idle engine starts at once with the rows that wait; rows that arrive meanwhile form the next batch, so there is no
batching delay to tune. Batches are computed by engine processes (``process_pool``) or in this process; one thread here
waits for each.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import anyio
import numpy as np
import structlog

from service.errors import DeadlineExceeded, EngineUnavailable, Overloaded
from service.inference.execution.backbone_pool import BackbonePool
from service.inference.execution.batch import PROBE_INPUT, PromptSource, finish_row, forward_chunks, get_prompt, warm_up
from service.inference.interface import (
    CacheLayer,
    InferenceEngine,
    PredictionInput,
    PredictionResult,
    PromptedModel,
    WorkerCrashed,
)
from service.inference.local.fair_queue import FairQueue, Row
from skeleton_prompt.model.prompt_file import Prompt
from skeleton_prompt.model.window_sums import Result, WindowSums

log = structlog.get_logger(__name__)

READY_TIMEOUT_S = 10.0
PROBE_POLL_S = 0.05
PROMPT_LOADER_THREADS = 4  # they wait for Redis or a disk and hardly compute
CHUNKS_PER_BATCH = 4  # a batch has room for this many chunks, so a long row delays others by a part of a batch
MAX_ATTEMPTS = 2  # of a row, where engine processes crash


class LocalEngine(InferenceEngine):
    """The model behind a bounded, fair queue.

    Args:
        load: Returns the loaded model; called once, in a thread.
        prompts: The prompt cache.
        queue_size: Maximum number of rows that wait.
        batch_size: Maximum number of windows in a forward pass.
        on_batch: Called after each batch with its rows and its seconds.
        load_old: Returns the model of another backbone by its SHA-256; None serves none.
        old_models: Maximum number of these in memory.
        threads: Number of batches computed at once.
        queue_seconds: A row that would wait longer is refused.
        on_stop: Called when no batch is computed any more.
    """

    def __init__(
        self,
        load: Callable[[], PromptedModel],
        prompts: PromptSource,
        *,
        queue_size: int = 256,
        batch_size: int = 16,
        on_batch: Callable[[int, float], None] | None = None,
        load_old: Callable[[str], PromptedModel] | None = None,
        old_models: int = 2,
        threads: int = 1,
        queue_seconds: float = math.inf,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self._load = load
        self._prompts = prompts
        self._batch_size = batch_size
        self._queue = FairQueue(queue_size, chunk=max(1, batch_size // CHUNKS_PER_BATCH))
        self._loaders = ThreadPoolExecutor(PROMPT_LOADER_THREADS, thread_name_prefix="prompts")
        self._threads = [
            threading.Thread(target=self._batch_loop, name="inference", daemon=True) for _ in range(threads)
        ]
        self._queue_seconds = queue_seconds
        self._on_stop = on_stop
        self._on_batch = on_batch
        self._load_old, self._old_models = load_old, old_models
        self._engine: PromptedModel | None = None
        self._models: BackbonePool | None = None
        self._window_s = 0.01  # moving average of seconds per window
        self._last_success = -math.inf

    @property
    def waiting(self) -> int:
        """See ``InferenceEngine.waiting``."""
        return len(self._queue)

    @property
    def backbone_sha256(self) -> str | None:
        """See ``InferenceEngine.backbone_sha256``."""
        return None if self._engine is None else self._engine.backbone_sha256

    @property
    def old_models(self) -> int:
        """See ``InferenceEngine.old_models``."""
        return 0 if self._models is None else self._models.loaded

    async def start(self) -> None:
        """See ``InferenceEngine.start``; also warms the model up and starts the threads."""
        self._engine = await asyncio.to_thread(self._load)
        self._models = BackbonePool(self._engine, self._load_old, self._old_models)
        await asyncio.to_thread(warm_up, self._engine)
        for thread in self._threads:
            thread.start()
        self._last_success = time.monotonic()

    async def stop(self) -> None:
        """Refuse waiting rows and end each thread after its batch."""
        for row in self._queue.close():
            _resolve(row, _shutting_down())
        for thread in self._threads:
            if thread.is_alive():
                await asyncio.to_thread(thread.join, 30.0)
        if self._models is not None:
            self._models.close()
        self._loaders.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._on_stop)

    def check_admission(self, tenant: str) -> None:
        """See ``InferenceEngine.check_admission``."""
        if self._would_wait_s(tenant) > 0 or not self._queue.has_room(tenant):
            raise self._overloaded(tenant)

    async def predict(self, question: PredictionInput) -> PredictionResult:
        """See ``InferenceEngine.predict``."""
        if self._engine is None:
            raise EngineUnavailable("The engine has not started yet.", retry_after=2.0)
        try:
            with anyio.fail_after(question.deadline - time.monotonic()):
                return await self._predict(question)
        except TimeoutError:
            raise DeadlineExceeded("The prediction was not ready before its deadline.") from None

    async def _predict(self, question: PredictionInput) -> PredictionResult:
        assert self._models is not None  # noqa: S101  # made by start, which predict has checked
        began = time.monotonic()
        row: Row | None = None
        cache: CacheLayer = "memory"
        prompt = self._prompts.peek(question.ref)
        if prompt is None:
            loaded = asyncio.get_running_loop().run_in_executor(self._loaders, self._load_prompt, question, began)
            prompt, cache, row = await loaded
        async with self._models.acquire(prompt.backbone_sha256) as model:
            row = row or self._enqueue(question, prompt, model, cache, began)
            outcome, queue_ms, forward_ms = await asyncio.wrap_future(row.done)
            # Here and not in the engine's thread, whose next batch would wait for it.
            prediction = finish_row(model, question, prompt, outcome)
        return PredictionResult(prediction, cache, queue_ms, row.prompt_ms, forward_ms)

    def _load_prompt(self, question: PredictionInput, began: float) -> tuple[Prompt, CacheLayer, Row | None]:
        """The prompt of an input, loaded in a thread, and its row if it is queued already.

        The thread queues the row itself: the event loop may be busy with other requests for longer than the load took.
        """
        assert self._models is not None  # noqa: S101  # made by start
        prompt, cache = get_prompt(self._prompts, question.ref)
        if not self._models.runs_on_current(prompt.backbone_sha256):
            return prompt, cache, None
        return prompt, cache, self._enqueue(question, prompt, self._models.current, cache, began)

    def _enqueue(
        self, question: PredictionInput, prompt: Prompt, model: PromptedModel, cache: CacheLayer, began: float
    ) -> Row:
        """A queued row; a row that has no place, this one or another, is resolved with ``Overloaded``."""
        row = Row(question, prompt, model, cache, prompt_ms=1000 * (time.monotonic() - began))
        refused = row if self._would_wait_s(row.tenant) > 0 else self._queue.put(row)
        if refused is not None:
            _resolve(refused, self._overloaded(refused.tenant))
        return row

    def _would_wait_s(self, tenant: str) -> float:
        """Seconds that a new row of a tenant would wait beyond what is allowed; 0 if it may wait.

        The first batch of rows may always wait, however slow the model is.
        """
        if len(self._queue) < self._batch_size:
            return 0.0
        waits = self._queue.windows_ahead(tenant) * self._window_s / len(self._threads)
        return waits if waits > self._queue_seconds else 0.0

    def _overloaded(self, tenant: str) -> Overloaded:
        waits = self._would_wait_s(tenant)
        if not waits:
            return Overloaded("More predictions wait than max_queue_rows allows.", retry_after=1.0)
        detail = f"A prediction would wait {waits:.2f} s for the engine, longer than max_queue_wait_seconds allows."
        return Overloaded(detail, retry_after=max(1.0, waits))

    async def is_ready(self) -> bool:
        """See ``InferenceEngine.is_ready``."""
        if self._engine is None or not all(thread.is_alive() for thread in self._threads):
            return False
        if self.waiting and time.monotonic() - self._last_success < READY_TIMEOUT_S:
            return True  # busy
        return await self._probe()

    async def _probe(self) -> bool:
        """Whether a forward pass succeeds, run when no row waits; a batch that succeeds meanwhile proves the same."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()
        asked = time.monotonic()

        def task() -> None:
            result = self._try_probe()
            with suppress(RuntimeError):  # the loop may be closed by now
                loop.call_soon_threadsafe(_set_if_pending, done, result)

        self._queue.submit_control_task(task)
        while time.monotonic() < asked + READY_TIMEOUT_S:
            await asyncio.wait([done], timeout=PROBE_POLL_S)
            if done.done():
                return done.result()
            if self._last_success > asked:
                return True
        return False

    def _try_probe(self) -> bool:
        assert self._engine is not None  # noqa: S101  # the thread starts after the engine is there
        try:
            good = bool(np.isfinite(self._engine.features([PROBE_INPUT])).all())
        except Exception:
            log.error("the readiness probe failed", exc_info=True)
            return False
        if good:
            self._last_success = time.monotonic()
        return good

    def _batch_loop(self) -> None:
        while True:
            rows: list[Row] = []
            try:
                tasks, rows = self._queue.take(self._batch_size)
                if not tasks and not rows:
                    return
                for task in tasks:
                    task()
            except BaseException:
                log.critical("a control task failed", exc_info=True)
            for model in dict.fromkeys(row.model for row in rows):
                self._run_batch([row for row in rows if row.model is model])

    def _run_batch(self, rows: list[Row]) -> None:
        try:
            self._run(rows)
        except BaseException:
            # Nothing may end this thread: all tenants depend on it.
            log.critical("a batch failed outside its rows", rows=len(rows), exc_info=True)
            for row in rows:
                _resolve(row, EngineUnavailable("The forward pass failed.", retry_after=1.0))

    def _run(self, rows: list[Row]) -> None:
        began = time.monotonic()
        chunks = [row.chunk(self._queue.chunk) for row in rows]
        outcomes = forward_chunks(rows[0].model, chunks, lambda index: rows[index].is_pending)
        seconds = time.monotonic() - began
        for row, chunk, outcome in zip(rows, chunks, outcomes, strict=True):
            if not row.position:
                row.queue_ms = 1000 * (began - row.queued)
            row.forward_ms += 1000 * seconds
            self._settle(row, len(chunk.person.pose), outcome)
        if any(not isinstance(outcome, Exception) for outcome in outcomes):
            self._last_success = time.monotonic()
        windows = sum(len(chunk.person.pose) for chunk in chunks)
        self._window_s += 0.1 * (seconds / windows - self._window_s)
        if self._on_batch is not None:
            self._on_batch(len(rows), seconds)

    def _settle(self, row: Row, windows: int, outcome: Result) -> None:
        """Resolve a row, or return it to the queue where it goes on or its engine process crashed."""
        if isinstance(outcome, WindowSums):
            row.position += windows
            row.sums = outcome
        elif isinstance(outcome, WorkerCrashed) and row.attempts + 1 < MAX_ATTEMPTS:
            row.attempts += 1
        elif isinstance(outcome, WorkerCrashed):
            _resolve(row, EngineUnavailable("The engine process ended while it computed.", retry_after=2.0))
            return
        else:
            _resolve(row, (outcome, row.queue_ms, row.forward_ms))
            return
        if row.is_pending and not self._queue.put_back(row):
            _resolve(row, _shutting_down())


def _shutting_down() -> EngineUnavailable:
    return EngineUnavailable("The engine is shutting down.", retry_after=5.0)


def _set_if_pending(done: asyncio.Future[bool], result: bool) -> None:
    if not done.done():
        done.set_result(result)


def _resolve(row: Row, outcome: Any) -> None:
    """Resolve a row unless its client has left, which may happen at any moment."""
    with suppress(Exception):
        if isinstance(outcome, Exception):
            row.done.set_exception(outcome)
        else:
            row.done.set_result(outcome)
