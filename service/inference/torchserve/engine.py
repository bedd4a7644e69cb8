"""The engine in TorchServe, here or on other machines: rows go out one by one, its batcher puts them together.

A row that meets a dead worker, a lost connection or a full server is sent once more, to another one if there is one: a
prediction changes nothing, so asking twice does no harm. Health is a real prediction; ``/ping`` says Healthy while
workers crash in a loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import aiohttp
import anyio
import numpy as np
import structlog

from service.backbone_loader import BackboneCompatibility
from service.errors import DeadlineExceeded, EngineUnavailable, MalformedBody, Overloaded, ServiceError
from service.inference.interface import InferenceEngine, PredictionInput, PredictionResult
from service.inference.metrics import InstancesCollector, name_of
from service.inference.torchserve import codec
from service.inference.torchserve.fair_turns import FairTurns
from service.inference.torchserve.instances import Instance, InstancePool
from service.metrics import Metrics
from skeleton_prompt.model.prompt_file import Array
from skeleton_prompt.model.window_batches import windows_of
from skeleton_prompt.model.window_sums import WindowSums

log = structlog.get_logger(__name__)

PATH = "/predictions/skeleton_prompt"
WORKERS = "/models/skeleton_prompt"
CONNECT_S = 2.0
PROBE_S = 5.0
FIGURES_S = 1.0  # a busy engine answers after the rows that it has: figures may be a little old, not late
FRESH_S = 10.0  # a row answered this recently proves that a busy engine works
START_S = 120.0
KEEP_ALIVE_S = 30.0
CHUNK_WINDOWS = 4  # of one request; a longer row is sent chunk by chunk


class _RetryElsewhere(Exception):
    """Another server may do better; carries what to answer if there is none."""

    def __init__(self, error: ServiceError, reason: str, *, same: bool = False) -> None:
        super().__init__(error.detail)
        self.error = error
        self.reason = reason  # a word for the metrics
        self.same = same  # whether even the same server may do better, as after an idle connection was closed


@dataclass(frozen=True)
class _Answer:
    """What an instance answered: the result of a row, or the sums of one that goes on."""

    result: PredictionResult | WindowSums
    forward_ms: float
    batch_rows: int
    logits: Array = field(default_factory=lambda: np.zeros(0, np.float32))


class TorchServeEngine(InferenceEngine):
    """One or several TorchServe instances behind the engine interface.

    Args:
        urls: Addresses of inference APIs.
        queue_size: Most rows in flight; a tenant that has more than its share of them is refused first.
        management_url: Management API of the one instance that was started with this service, if it was.
        start_s: Seconds that the first instance has to become ready.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        queue_size: int = 256,
        queue_seconds: float = math.inf,
        management_url: str | None = None,
        start_s: float = START_S,
    ) -> None:
        self._servers = InstancePool(urls, self._probe)
        self._queue_size, self._management_url, self._start_s = queue_size, management_url, start_s
        self._queue_seconds = queue_seconds
        self._row_s = 0.01  # moving average of seconds per row
        self._batch_rows = 1  # the largest batch that any instance has answered
        self._rows: Counter[str] = Counter()
        self._turns = FairTurns(lambda: sum(server.healthy for server in self._servers.all))
        self._session: aiohttp.ClientSession | None = None
        self._last_success = float("-inf")
        self._counted = InstancesCollector(self._servers.all)
        self._on_batch: Callable[[int, float], None] = lambda _rows, _seconds: None
        self._check: BackboneCompatibility | None = None

    def bind(self, metrics: Metrics, check: BackboneCompatibility) -> None:
        """Take part in a gateway: count into its metrics, and serve on no backbone that it does not know."""
        metrics.registry.register(self._counted)
        self._on_batch, self._check = metrics.record_batch, check

    @property
    def backbone_sha256(self) -> str | None:
        """The gateway's backbone, or where there is no gateway the one of an instance, once it has said so."""
        said = (server.backbone_sha256 for server in self._servers.all if server.backbone_sha256 is not None)
        return self._check.sha256 if self._check is not None else next(said, None)

    @property
    def old_models(self) -> int:
        """How many models of older backbones the instances have in memory."""
        return sum(server.figures.old_backbones for server in self._servers.all if server.figures is not None)

    @property
    def unavailable_reason(self) -> str | None:
        """Why instances that answer are not used; names no address."""
        return next(
            (server.rejection_reason for server in self._servers.all if server.rejection_reason is not None), None
        )

    @property
    def waiting(self) -> int:
        """Rows in flight."""
        return self._rows.total()

    async def start(self) -> None:
        """Wait for the first instance that predicts.

        Raises:
            EngineUnavailable: There is none in time, or each runs on a backbone that will not do.
        """
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False, trust_env=False)
        self._servers.start()
        with anyio.move_on_after(self._start_s):
            while self._servers.pick() is None and not all(server.rejection_reason for server in self._servers.all):
                await asyncio.sleep(0.05)
        if self._servers.pick() is None:
            await self.stop()
            names = ", ".join(map(name_of, self._servers.all))
            why = self.unavailable_reason or f"No forward pass succeeded within {self._start_s:g} seconds."
            raise EngineUnavailable(f"TorchServe at {names} cannot be used. {why}")

    async def stop(self) -> None:
        """Let go of everything; the gateway has drained by now."""
        await self._servers.stop()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def predict(self, question: PredictionInput) -> PredictionResult:
        """See ``InferenceEngine.predict``."""
        return (await self.ask(question))[0]

    async def ask(self, question: PredictionInput) -> tuple[PredictionResult, Array]:
        """The answer and the logits that it was made of; raises what ``predict`` does."""
        if self._session is None:
            raise EngineUnavailable("The engine has not started yet.", retry_after=2.0)
        tenant = question.ref.tenant
        self.check_admission(tenant)
        self._rows[tenant] += 1
        try:
            return await self._ask(question)
        finally:
            self._rows[tenant] -= 1
            if not self._rows[tenant]:
                del self._rows[tenant]

    async def is_ready(self) -> bool:
        """See ``InferenceEngine.is_ready``."""
        if self._session is None:
            return False
        fresh = time.monotonic() - self._last_success < FRESH_S
        if fresh and self.waiting and self._servers.pick() is not None:
            return True
        return any(await asyncio.gather(*map(self._probe_and_note, self._servers.all)))

    async def refresh(self) -> None:
        """Bring the figures of the instances up to date, as far as they answer soon."""

        async def ask(server: Instance) -> None:
            with contextlib.suppress(aiohttp.ClientError, asyncio.TimeoutError, OSError, EngineUnavailable):
                await self._fetch_stats(server, codec.FIGURES, FIGURES_S)

        await asyncio.gather(*map(ask, self._servers.all))

    def check_admission(self, tenant: str) -> None:
        """See ``InferenceEngine.check_admission``.

        No tenant gets more than three quarters of the places, and from half of them on none more than an equal share:
        rows that TorchServe has cannot be taken back to make room, as the embedded engine's queue does.
        """
        waiting, mine, places = self._rows.total(), self._rows[tenant], self._capacity()
        tenants = len(self._rows) + (not mine)
        greedy = 4 * mine >= 3 * places or (2 * waiting >= places and mine * tenants > places)
        if greedy or waiting >= places:
            setting = "max_queue_rows" if places == self._queue_size else "max_queue_wait_seconds"
            raise Overloaded(f"More predictions wait than the {setting} setting allows.", retry_after=1.0)

    def _capacity(self) -> int:
        """How many rows there may be: as many as wait for less than ``queue_seconds``, beside those being computed."""
        in_time = self._queue_seconds / self._row_s + 2 * self._batch_rows
        servers = sum(server.healthy for server in self._servers.all)
        return int(min(self._queue_size, max(1, servers) * in_time))

    async def _ask(self, question: PredictionInput) -> tuple[PredictionResult, Array]:
        """Send a row, a long one chunk by chunk; the answer to its last chunk is the row's."""
        W = len(question.person.pose)
        if W <= CHUNK_WINDOWS:
            answer = await self._send_anywhere(question, codec.encode_input(question), last=True)
        else:
            answer = await self._ask_in_chunks(question, W)
        assert isinstance(answer.result, PredictionResult)  # noqa: S101  # of a last chunk
        return answer.result, answer.logits

    async def _ask_in_chunks(self, question: PredictionInput, W: int) -> _Answer:
        sums: WindowSums | None = None
        forward_ms = 0.0
        for start in range(0, W, CHUNK_WINDOWS):
            part = windows_of(question.person, slice(start, start + CHUNK_WINDOWS))
            last = start + CHUNK_WINDOWS >= W
            body = codec.encode_input(question, part, sums, last=last)
            async with self._turns.turn(question.ref.tenant, len(part.pose), question.deadline):
                answer = await self._send_anywhere(question, body, last=last)
            forward_ms += answer.forward_ms
            if isinstance(answer.result, WindowSums):
                sums = answer.result
        if isinstance(answer.result, PredictionResult):
            answer = replace(answer, result=replace(answer.result, forward_ms=forward_ms))
        return answer

    async def _send_anywhere(self, question: PredictionInput, body: bytes, *, last: bool) -> _Answer:
        """Send a body to the best instance, and to another one where that fails."""
        headers = codec.encode_headers(question)
        server = self._servers.pick()
        if server is None:
            raise EngineUnavailable("No TorchServe is ready.", retry_after=2.0)
        try:
            return await self._send(server, question, body, headers, last=last)
        except _RetryElsewhere as first:
            other = self._servers.pick(but=server) or (server if first.same else None)
            if other is None or time.monotonic() >= question.deadline:
                raise first.error from None
            log.info("row_sent_again", why=str(first), first=name_of(server), then=name_of(other))
            self._counted.resent.labels(name_of(other)).inc()
        try:
            return await self._send(other, question, body, headers, last=last)
        except _RetryElsewhere as second:
            raise second.error from None

    async def _send(
        self, server: Instance, question: PredictionInput, body: bytes, headers: dict[str, str], *, last: bool
    ) -> _Answer:
        """Send a body to one instance, and count the outcome."""
        name, began = name_of(server), time.monotonic()
        outcome = "cancelled"
        try:
            answer = await self._exchange(server, question, body, headers, last=last)
            outcome = "answered"
        except _RetryElsewhere as error:
            outcome = error.reason
            raise
        except ServiceError as error:
            outcome = error.code
            raise
        finally:
            self._counted.rows.labels(name, outcome).inc()
        seconds = time.monotonic() - began
        self._counted.seconds.labels(name).observe(seconds)
        queued = answer.result.queue_ms / 1000 if isinstance(answer.result, PredictionResult) else seconds
        self._counted.queue_seconds.labels(name).observe(max(0.0, queued))
        if answer.batch_rows:
            self._row_s += 0.1 * (answer.forward_ms / 1000 / answer.batch_rows - self._row_s)
            self._batch_rows = max(self._batch_rows, answer.batch_rows)
            self._on_batch(answer.batch_rows, answer.forward_ms / 1000)
        return answer

    async def _exchange(
        self, server: Instance, question: PredictionInput, body: bytes, headers: dict[str, str], *, last: bool
    ) -> _Answer:
        began = time.monotonic()
        if began >= question.deadline:
            raise DeadlineExceeded("The prediction was not ready before its deadline.")
        server.in_flight += 1
        try:
            status, kind, data = await self._post(server, body, headers, question.deadline - began)
        except aiohttp.ClientConnectorError as error:
            server.record_failure(str(error), surely=True)
            raise _RetryElsewhere(
                EngineUnavailable("TorchServe cannot be reached.", retry_after=2.0), "unreachable"
            ) from error
        except asyncio.TimeoutError as error:
            server.record_failure("no answer before the deadline")
            if not server.healthy:  # the row was patient enough for one that works
                raise EngineUnavailable("TorchServe failed while the row waited in it.", retry_after=2.0) from error
            raise DeadlineExceeded("The prediction was not ready before its deadline.") from error
        except (aiohttp.ClientError, OSError) as error:
            if self._session is None:
                raise EngineUnavailable("The engine is shutting down.", retry_after=5.0) from error
            server.record_failure(repr(error))
            hung_up = EngineUnavailable("TorchServe hung up.", retry_after=2.0)
            raise _RetryElsewhere(hung_up, "hung_up", same=True) from error
        finally:
            server.in_flight -= 1
        if kind != codec.CONTENT_TYPE:
            raise _is_torchserve_error(server, status, data)
        server.record_success()
        if status != 200:
            said = codec.decode_error(data)
            if isinstance(said, MalformedBody):  # the row was made by this gateway, not by the client
                said = EngineUnavailable("Gateway and engine are of different releases.", retry_after=5.0)
            raise _RetryElsewhere(said, said.code) if status == 503 else said
        self._last_success = time.monotonic()
        if not last:
            return _Answer(*codec.decode_partial(data))
        result, logits = codec.decode_result(data, 1000 * (self._last_success - began))
        return _Answer(result, result.forward_ms, result.batch_rows, logits)

    async def _post(
        self, server: Instance, body: bytes, headers: dict[str, str], seconds: float
    ) -> tuple[int, str, bytes]:
        if self._session is None or self._session.closed:
            raise EngineUnavailable("The engine is shutting down.", retry_after=5.0)
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=min(seconds, CONNECT_S))
        headers = {**headers, "Content-Type": "application/octet-stream"}
        async with self._session.post(server.url + PATH, data=body, headers=headers, timeout=timeout) as response:
            return response.status, response.content_type, await response.read()

    async def _probe_and_note(self, server: Instance) -> bool:
        good = await self._probe(server)
        if good:
            server.record_success()
        else:
            server.record_failure("the probe failed", surely=True)
        return good

    async def _probe(self, server: Instance) -> bool:
        """Whether a server completes a forward pass, and the local one's worker is ready."""
        try:
            if self._management_url is not None and not await self._worker_ready(self._management_url):
                return False
            if not await self._fetch_stats(server, codec.FORWARD, PROBE_S):
                return False
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError, EngineUnavailable):
            return False
        if server.rejection_reason is not None:
            return False
        self._last_success = time.monotonic()
        return True

    async def _fetch_stats(self, server: Instance, kind: str, seconds: float) -> bool:
        """Ask an instance for its figures, after a forward pass or without one; whether it gave them."""
        status, content, data = await self._post(server, b"", {codec.PROBE: kind}, seconds)
        if status != 200 or content != codec.CONTENT_TYPE:
            return False
        sha256, server.figures = codec.decode_probe(data)
        before, server.backbone_sha256 = server.rejection_reason, sha256
        server.rejection_reason = None if self._check is None else await self._check.rejection_reason(sha256)
        if server.rejection_reason is not None and server.rejection_reason != before:
            log.error("torchserve_refused", url=name_of(server), why=server.rejection_reason)
        return True

    async def _worker_ready(self, url: str) -> bool:
        assert self._session is not None  # noqa: S101  # checked by whoever calls
        async with self._session.get(url + WORKERS, timeout=aiohttp.ClientTimeout(total=PROBE_S)) as response:
            models = await response.json(content_type=None)
        if response.status != 200 or not isinstance(models, list):
            return False
        if not any(model.get("workers") for model in models):
            # Anybody on this machine can scale the model to nothing through the management API.
            log.warning("torchserve_without_worker", action="scale to one worker")
            wanted = {"min_worker": "1", "max_worker": "1"}
            async with self._session.put(url + WORKERS, params=wanted, timeout=aiohttp.ClientTimeout(total=PROBE_S)):
                return False
        return any(worker.get("status") == "READY" for model in models for worker in model.get("workers", ()))


def _is_torchserve_error(server: Instance, status: int, data: bytes) -> _RetryElsewhere:
    """What an answer means that TorchServe made itself, the handler having had no say."""
    # 500 and 507: the worker died with its batch. 503: a full queue, or no worker. Else: not the server we mean.
    server.record_failure(f"status {status}: {data[:200]!r}", surely=status != 503)
    if status == 503:
        return _RetryElsewhere(EngineUnavailable("TorchServe refuses the row.", retry_after=2.0), "refused")
    error = EngineUnavailable(f"TorchServe's worker failed with status {status}.", retry_after=5.0)
    return _RetryElsewhere(error, "worker_died")
