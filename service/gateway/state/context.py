"""What the routes share: one object, made by the application's lifespan."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import ParamSpec, TypeVar

import anyio
import orjson
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from service.gateway.state.event_streams import EventStreams
from service.gateway.state.key_tenant_cache import KeyTenantCache
from service.gateway.state.onnx_exporter import OnnxExporter
from service.gateway.state.rate_limit import RateLimiter
from service.gateway.state.readiness import Readiness
from service.gateway.state.recent_clips import RecentClips
from service.gateway.state.recent_key_secrets import IdempotentSecretCache
from service.gateway.state.tenant_slots import TenantSlots
from service.gateway.state.usage_counter import UsageCounter
from service.inference import InferenceEngine
from service.jobs.queue import JobQueue
from service.metrics import Metrics
from service.settings import Settings
from service.storage.prompt_cache.cache import PromptCache
from service.storage.store import Storage

P = ParamSpec("P")
T = TypeVar("T")

SMALL_BODY = 128 << 10  # what is read of it takes a few milliseconds at the most
_PREDICT_POOL = ThreadPoolExecutor(4, thread_name_prefix="predict")
# One thread checks what is uploaded to learn from, a few clips at a time, so that uploads take turns and together
# compete for the interpreter lock as one thread does.
_UPLOAD_POOL = ThreadPoolExecutor(1, thread_name_prefix="upload")


@dataclass(frozen=True)
class GatewayContext:
    """The parts that a request may need."""

    settings: Settings
    storage: Storage
    engine: InferenceEngine
    prompts: PromptCache
    queue: JobQueue
    metrics: Metrics
    rate_limits: RateLimiter
    usage: UsageCounter
    exports: OnnxExporter
    requests: TenantSlots
    uploads: TenantSlots
    readiness: Readiness
    streams: EventStreams
    callers: KeyTenantCache = field(default_factory=KeyTenantCache)
    recent: RecentClips = field(default_factory=RecentClips)
    large_body: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(1))
    secrets: IdempotentSecretCache = field(default_factory=IdempotentSecretCache)


def context_of(request: Request) -> GatewayContext:
    """The gateway that a request belongs to."""
    gateway: GatewayContext = request.app.state.gateway
    return gateway


async def run_in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call something that blocks, in a thread."""
    return await to_thread.run_sync(lambda: function(*args, **kwargs))


async def run_in_predict_pool(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """``run`` for the hot path: in few threads of its own, which fight less for Python's lock, and with less around."""
    return await asyncio.get_running_loop().run_in_executor(_PREDICT_POOL, partial(function, *args, **kwargs))


async def run_in_upload_pool(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call something that checks a part of an upload; it should take no longer than tens of milliseconds."""
    return await asyncio.get_running_loop().run_in_executor(_UPLOAD_POOL, partial(function, *args, **kwargs))


async def run_inline_or_pool(size: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call something that computes on so many bytes of a body: here at once, or in a thread where it may take long."""
    if size <= SMALL_BODY:
        return function(*args, **kwargs)
    return await run_in_predict_pool(function, *args, **kwargs)


def json_response(document: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON response."""
    return Response(orjson.dumps(document, default=_plain), status, headers, "application/json")


def _plain(value: object) -> object:
    """What orjson does not know by itself."""
    if isinstance(value, frozenset | set | tuple):
        return sorted(value) if isinstance(value, frozenset | set) else list(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
