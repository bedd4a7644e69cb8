"""The engine inside TorchServe: a batch of rows of any tenants in, one answer per row out.

Thin over ``skeleton_prompt.model.engine.Engine`` and ``service.inference.execution.batch``; the wire format is in
``codec.py``.
Nothing that happens to one row may leave ``handle``: TorchServe answers an exception with 503 for the whole batch.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import structlog

from service.backbone_loader import EngineOptions, engine_from_archive, engine_options
from service.errors import DeadlineExceeded, EngineUnavailable, MalformedBody, ServiceError
from service.inference.execution.backbone_pool import BackbonePool
from service.inference.execution.batch import PROBE_INPUT, finish_row, forward_chunks, get_prompt, warm_up
from service.inference.interface import CacheLayer, PredictionInput, PredictionResult, PromptedModel
from service.inference.torchserve import codec
from service.inference.torchserve.batch_row import BatchRow
from service.logs import configure_logging
from service.settings import Settings
from service.storage.blobs.s3 import blobs_of
from service.storage.prompt_cache.cache import PromptCache
from skeleton_prompt.model.devices import assigned_device
from skeleton_prompt.model.engine import Engine
from skeleton_prompt.model.prompt_file import Prompt
from skeleton_prompt.model.window_sums import Chunk, Result, WindowSums

log = structlog.get_logger(__name__)

LOADERS = 4  # threads that fetch prompts: they wait for Redis or a disk, hardly compute
WAIT_S = 1.0  # the neighbours in the batch wait too: what takes longer goes on loading, and its row is told to retry


class SkeletonPromptHandler:
    """What TorchServe calls: ``initialize`` once, ``handle`` for each batch, always from one thread."""

    def initialize(self, context: Any) -> None:
        """Load the backbone of the archive and run it once."""
        settings = Settings().resolved()
        # Warnings at the least: TorchServe's worker has lines at `info` for each batch.
        configure_logging("error" if settings.log_level == "error" else "warning", as_json=settings.log_json)
        folder = Path(context.system_properties["model_dir"])
        device = assigned_device(settings.device, context.system_properties.get("gpu_id"))
        where: EngineOptions = {**engine_options(settings), "device": device}
        self._engine = Engine.load(folder / context.manifest["model"]["serializedFile"], threads=1, **where)
        blobs = blobs_of(settings)
        self._prompts = PromptCache.over(settings, blobs)
        self._late = 0
        self._models = BackbonePool(
            self._engine, partial(engine_from_archive, folder, blobs, where=where), settings.max_old_backbones
        )
        self._loaders = ThreadPoolExecutor(LOADERS, thread_name_prefix="prompts")
        self._loop = asyncio.new_event_loop()
        warm_up(self._engine)

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[bytes]:
        """Answer each row in its place, with a status of its own."""
        answers = self._loop.run_until_complete(self._batch(data, context))
        for index, (status, _) in enumerate(answers):
            context.set_response_status(status, HTTPStatus(status).phrase, index)
            context.set_response_content_type(index, codec.CONTENT_TYPE)
        return [body for _, body in answers]

    async def _batch(self, data: list[dict[str, Any]], context: Any) -> list[tuple[int, bytes]]:
        answers: dict[int, tuple[int, bytes]] = {}
        found: dict[str, list[BatchRow]] = {}

        async def read(index: int) -> None:
            try:
                if probe := context.get_request_header(index, codec.PROBE):
                    answers[index] = (200, self._probe(probe))
                    return
                body = data[index].get("body")
                if not isinstance(body, bytes | bytearray):
                    raise MalformedBody("A row is application/octet-stream.")
                header = partial(context.get_request_header, index)
                question, before, last = codec.decode_row(body, header)
                began = time.monotonic()
                prompt, layer = await self._prompt(question)
                chunk = Chunk(question.person, prompt, before, last)
                row = BatchRow(index, question, chunk, layer, 1000 * (time.monotonic() - began))
                found.setdefault(prompt.backbone_sha256, []).append(row)
            except Exception as error:
                answers[index] = _refusal(error)

        async def run(sha256: str) -> None:
            rows = found[sha256]
            try:
                with anyio.fail_after(WAIT_S):
                    async with self._models.acquire(sha256) as model:
                        began = time.monotonic()
                        rows = [row for row in rows if row.input.deadline > began]  # the rest is late by now
                        outcomes = self._forward(model, rows)
                        forward_ms = 1000 * (time.monotonic() - began)
            except Exception as error:
                answers.update({row.index: _refusal(error) for row in rows})
                return
            for number, (row, outcome) in enumerate(zip(rows, outcomes, strict=True)):
                answers[row.index] = _answer(model, row, outcome, forward_ms, 0 if number else len(rows))

        await asyncio.gather(*map(read, range(len(data))))
        await asyncio.gather(*map(run, found))
        late = _refusal(DeadlineExceeded("The engine came to the row after its deadline."))
        self._late += sum(status == late[0] for status, _ in answers.values()) + len(data) - len(answers)
        return [answers.get(index, late) for index in range(len(data))]

    @staticmethod
    def _forward(model: PromptedModel, rows: list[BatchRow]) -> list[Result]:
        chunks = [row.chunk for row in rows]
        return forward_chunks(model, chunks, lambda i: rows[i].input.deadline > time.monotonic()) if rows else []

    async def _prompt(self, question: PredictionInput) -> tuple[Prompt, CacheLayer]:
        """The prompt: at once from memory, which is nearly always; otherwise by a thread that may wait."""
        left = question.deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded("The row reached the engine after its deadline.")
        known = self._prompts.peek(question.ref)
        if known is not None:
            return known, "memory"
        with anyio.fail_after(min(left, WAIT_S)):
            return await self._loop.run_in_executor(self._loaders, get_prompt, self._prompts, question.ref)

    def _probe(self, kind: str) -> bytes:
        if kind != codec.FIGURES and not np.isfinite(self._engine.features([PROBE_INPUT])).all():
            raise EngineUnavailable("The probe's features are not finite.", retry_after=2.0)
        figures = self._prompts.stats(old_backbones=self._models.loaded, late=self._late)
        return codec.encode_probe(self._engine.backbone_sha256, figures)


def _answer(
    model: PromptedModel, row: BatchRow, outcome: Result, forward_ms: float, batch_rows: int
) -> tuple[int, bytes]:
    """The status and the body of a row after its forward pass."""
    try:
        if isinstance(outcome, WindowSums):
            return 200, codec.encode_partial(outcome, forward_ms, batch_rows)
        prediction = finish_row(model, row.input, row.chunk.prompt, outcome)
        answer = PredictionResult(prediction, row.layer, 0.0, row.prompt_ms, forward_ms, batch_rows)
        return 200, codec.encode_result(answer, np.asarray(outcome))
    except Exception as error:
        return _refusal(error)


def _refusal(error: Exception) -> tuple[int, bytes]:
    """The status and the body that stand for an error."""
    if isinstance(error, TimeoutError):
        error = EngineUnavailable("The prompt or its backbone is still being loaded.", retry_after=1.0)
    elif not isinstance(error, ServiceError):
        log.error("a row failed", exc_info=error)
        error = EngineUnavailable("The engine failed for this clip.", retry_after=1.0)
    return error.status, codec.encode_error(error)
