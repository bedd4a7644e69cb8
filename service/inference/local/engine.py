"""The engine of the gateway itself: batches form by themselves while it is busy.

An idle engine starts at once with whatever there is; rows that arrive meanwhile form the next batch. So a lone client
never waits for company, and a busy engine works in full batches, without a waiting time to tune. What computes is
processes beside this one (``processes.py``), or this one itself; one thread here waits for each.
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
from service.inference.execution.batch import PROBE_INPUT, PromptSource, finish_row, forward_rows, get_prompt, warm_up
from service.inference.interface import CacheLayer, PredictionInput, PredictionResult, PromptedModel
from service.inference.local.fair_queue import FairQueue, Row
from skeleton_prompt.model.prompt_file import Prompt

log = structlog.get_logger(__name__)

PROBE_S = 10.0  # a forward pass this recent proves that the engine works
PROMPT_LOADER_THREADS = 4  # threads that fetch prompts: they wait for Redis or a disk, hardly compute


class LocalEngine:
    """The model library behind a bounded queue.

    Args:
        load: Gives the loaded model; called once, in a thread.
        prompts: The prompt cache.
        queue_size: Rows that may wait.
        batch_size: Rows of one forward pass.
        on_batch: Told of each batch: rows, seconds.
        load_old: Gives the model of another backbone by its SHA-256, for prompts made on it; None serves none.
        old_models: How many of these may be in memory at once.
        threads: How many batches may be computed at once.
        queue_seconds: A row that would wait longer is refused.
        on_stop: Called when nothing computes any more.
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
        self._queue = FairQueue(queue_size)
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
        self._row_s = 0.01  # moving average of seconds per row
        self._last_success = -np.inf

    @property
    def waiting(self) -> int:
        """Rows in the queue."""
        return len(self._queue)

    @property
    def backbone_sha256(self) -> str | None:
        """The current backbone, once it is loaded."""
        return None if self._engine is None else self._engine.backbone_sha256

    @property
    def old_models(self) -> int:
        """How many models of older backbones are in memory."""
        return 0 if self._models is None else self._models.loaded

    async def start(self) -> None:
        """Load the model, warm it up, start the threads."""
        self._engine = await asyncio.to_thread(self._load)
        self._models = BackbonePool(self._engine, self._load_old, self._old_models)
        await asyncio.to_thread(warm_up, self._engine)
        for thread in self._threads:
            thread.start()
        self._last_success = time.monotonic()

    async def stop(self) -> None:
        """Refuse what waits, end each thread after its batch."""
        for row in self._queue.close():
            _resolve(row, EngineUnavailable("The engine is shutting down.", retry_after=5.0))
        for thread in self._threads:
            if thread.is_alive():
                await asyncio.to_thread(thread.join, 30.0)
        if self._models is not None:
            self._models.close()
        self._loaders.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._on_stop)

    def check_admission(self, tenant: str) -> None:
        """See ``InferenceEngine.check_admission``."""
        if not self._queue.has_room(tenant, self._admission_limit()):
            raise self._overloaded()

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
        """The prompt of a question, loaded by a thread that may wait, and its row, if it is in the queue already.

        The thread puts it there itself: the event loop may be busy with other requests for longer than the load took.
        """
        assert self._models is not None  # noqa: S101  # made by start
        prompt, cache = get_prompt(self._prompts, question.ref)
        if not self._models.runs_on_current(prompt.backbone_sha256):
            return prompt, cache, None
        return prompt, cache, self._enqueue(question, prompt, self._models.current, cache, began)

    def _enqueue(
        self, question: PredictionInput, prompt: Prompt, model: PromptedModel, cache: CacheLayer, began: float
    ) -> Row:
        """A row in the queue; where there is no room, the row that has to go has its answer already."""
        row = Row(question, prompt, model, cache, prompt_ms=1000 * (time.monotonic() - began))
        displaced = self._queue.put(row, most=self._admission_limit())
        if displaced is not None:
            _resolve(displaced, self._overloaded())
        return row

    async def is_ready(self) -> bool:
        """Whether the engine computes: a recent batch proves it, otherwise one forward pass is made."""
        if self._engine is None or not all(thread.is_alive() for thread in self._threads):
            return False
        if time.monotonic() - self._last_success < PROBE_S and self.waiting:
            return True
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()

        def errand() -> None:
            result = self._try_probe()
            with suppress(RuntimeError):  # the loop may be closed by now
                loop.call_soon_threadsafe(_set_if_pending, done, result)

        self._queue.submit_control_task(errand)
        with anyio.move_on_after(PROBE_S):
            return await done
        return time.monotonic() - self._last_success < PROBE_S

    def _overloaded(self) -> Overloaded:
        waits = len(self._queue) * self._row_s / len(self._threads)
        if len(self._queue) >= self._queue.capacity:
            return Overloaded("More predictions wait than max_queue_rows allows.", retry_after=max(1.0, waits))
        detail = f"A prediction would wait {waits:.2f} s for the engine, longer than max_queue_wait_seconds allows."
        return Overloaded(detail, retry_after=max(1.0, waits))

    def _admission_limit(self) -> int:
        """How many rows may wait: as many as are computed in time, and at the least one batch."""
        in_time = self._queue_seconds * len(self._threads) / self._row_s
        return max(self._batch_size, int(min(in_time, self._queue.capacity)))

    def _try_probe(self) -> bool:
        assert self._engine is not None  # noqa: S101  # the thread starts after the engine is there
        try:
            good = bool(np.isfinite(self._engine.features([PROBE_INPUT])).all())
        except Exception:
            log.error("the probe failed", exc_info=True)
            return False
        if good:
            self._last_success = time.monotonic()
        return good

    def _batch_loop(self) -> None:
        while True:
            rows: list[Row] = []
            try:
                errands, rows = self._queue.take(self._batch_size)
                if not errands and not rows:
                    return
                for errand in errands:
                    errand()
            except BaseException:
                log.critical("an errand failed", exc_info=True)
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
        outcomes = forward_rows(rows[0].model, [(row.input.person, row.prompt) for row in rows])
        seconds = time.monotonic() - began
        for row, outcome in zip(rows, outcomes, strict=True):
            _resolve(row, (outcome, 1000 * (began - row.queued), 1000 * seconds))
        if any(not isinstance(outcome, Exception) for outcome in outcomes):
            self._last_success = time.monotonic()
        self._row_s += 0.1 * (seconds / len(rows) - self._row_s)
        if self._on_batch is not None:
            self._on_batch(len(rows), seconds)


def _set_if_pending(done: asyncio.Future[bool], result: bool) -> None:
    if not done.done():
        done.set_result(result)


def _resolve(row: Row, outcome: Any) -> None:
    """Give a row its outcome, unless its client has left: a race that the client may win at any moment."""
    with suppress(Exception):
        if isinstance(outcome, Exception):
            row.done.set_exception(outcome)
        else:
            row.done.set_result(outcome)
