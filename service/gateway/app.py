"""The application: its parts opened and closed in order, its routes put together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial

from fastapi import FastAPI

from service.backbone_loader import BackboneCompatibility, engine_options, load_old_backbone, old_engine
from service.gateway.http import openapi, problem_details
from service.gateway.http.middleware import RequestMiddleware
from service.gateway.routes import (
    clips,
    console,
    feedback,
    health,
    jobs,
    keys,
    layouts,
    predict,
    prompts,
    segments,
    tenants,
    tune,
    usage,
)
from service.gateway.state.context import GatewayContext, run_in_thread
from service.gateway.state.event_streams import EventStreams
from service.gateway.state.onnx_exporter import OnnxExporter
from service.gateway.state.rate_limit import RateLimiter
from service.gateway.state.readiness import Readiness
from service.gateway.state.tenant_slots import TenantSlots
from service.gateway.state.usage_counter import UsageCounter
from service.inference import InferenceEngine
from service.inference.execution.batch import tune_gc
from service.inference.interface import PromptedModel
from service.inference.local.process_pool import EngineProcessPool
from service.inference.metrics import EngineStatsCollector
from service.jobs.backbone_upgrade import BackboneUpgrader
from service.jobs.queue import JobQueue
from service.jobs.requeue import LostJobRequeuer
from service.metrics import Metrics
from service.settings import Settings
from service.storage.prompt_cache.cache import PromptCache
from service.storage.prompt_cache.subscriber import PromptEventSubscriber
from service.storage.store import Storage
from skeleton_prompt import __version__

UPLOAD_WAIT_S = 60.0  # for another upload of the same tenant to end
DESCRIPTION = "Teach the service your own human actions from a handful of labelled skeleton clips."


def create_app(
    settings: Settings, *, engine: InferenceEngine | None = None, processes: EngineProcessPool | None = None
) -> FastAPI:
    """The gateway as an ASGI application.

    Args:
        settings: All of them; defaults of the embedded parts are filled in.
        engine: An engine to use instead of the one that the settings ask for.
        processes: Those of the embedded engine, where they have been started already.
    """
    settings = settings.resolved()
    metrics = Metrics()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            app.state.gateway = await _open(stack, settings, metrics, engine, processes)
            yield

    app = FastAPI(
        title="Skeleton-Prompt",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    modules = (
        predict, segments, tune, jobs, prompts, clips, feedback, tenants, keys, usage, layouts, health, console,
    )  # fmt: skip
    for module in modules:
        app.include_router(module.router)
    problem_details.install(app, [route for module in modules for route in module.router.routes])
    openapi.install(app)
    app.add_middleware(RequestMiddleware, metrics=metrics)
    return app


async def _open(
    stack: contextlib.AsyncExitStack,
    settings: Settings,
    metrics: Metrics,
    engine: InferenceEngine | None,
    processes: EngineProcessPool | None,
) -> GatewayContext:
    """Open every part; the stack closes them in the opposite order."""
    storage = await run_in_thread(Storage.open, settings)
    stack.callback(storage.close)
    await run_in_thread(storage.prepare, settings.database_wait_seconds)
    prompt_cache = await run_in_thread(PromptCache.of, settings, storage)
    news = PromptEventSubscriber(settings.redis_address, prompt_cache.on_event)
    news.start()
    stack.push_async_callback(run_in_thread, news.stop)
    if engine is None:
        remote = settings.engine == "torchserve"
        engine = _remote(settings) if remote else _embedded(settings, storage, prompt_cache, metrics, processes)
    engine.bind(metrics, await run_in_thread(BackboneCompatibility, storage, settings.backbone))
    await engine.start()
    stack.push_async_callback(engine.stop)
    queue = JobQueue(settings.redis_address)
    stack.callback(queue.close)
    usage_meter = UsageCounter(storage)
    stack.push_async_callback(usage_meter.flush)
    streams = EventStreams(storage.watching, settings.max_tenant_event_streams, settings.max_event_streams)
    tasks = [LostJobRequeuer(storage, queue).run(), usage_meter.run(), streams.run()]
    sha256 = engine.backbone_sha256
    if sha256 is not None:
        retuner = BackboneUpgrader(
            storage,
            settings.backbone,
            sha256,
            most=settings.max_backbone_upgrade_jobs,
            on_look=metrics.record_backbone_upgrades,
        )
        tasks.append(retuner.run())
    for forever in tasks:
        stack.push_async_callback(_end, asyncio.create_task(forever))
    await run_in_thread(tune_gc)
    return GatewayContext(
        settings=settings,
        storage=storage,
        engine=engine,
        prompts=prompt_cache,
        queue=queue,
        metrics=metrics,
        rate_limits=RateLimiter(settings.rate_limit, settings.redis_address),
        usage=usage_meter,
        requests=TenantSlots(settings.max_tenant_requests, "max_tenant_requests"),
        uploads=TenantSlots(settings.max_tenant_uploads, "max_tenant_uploads", UPLOAD_WAIT_S),
        readiness=Readiness(engine),
        streams=streams,
        exports=OnnxExporter(storage, settings.backbone),
    )


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _remote(settings: Settings) -> InferenceEngine:
    """The engine in TorchServe at the addresses of the settings."""
    from service.inference.torchserve.engine import TorchServeEngine

    if settings.engine_url is None:
        raise ValueError("engine=torchserve needs engine_url, or `skeleton-prompt serve`, which starts a local one")
    urls = settings.engine_url.split(",")
    return TorchServeEngine(urls, queue_size=settings.max_queue_rows, queue_seconds=settings.max_queue_wait_seconds)


def _embedded(
    settings: Settings,
    storage: Storage,
    prompt_cache: PromptCache,
    metrics: Metrics,
    processes: EngineProcessPool | None,
) -> InferenceEngine:
    """The engine of this gateway, which computes in processes beside it or, if there shall be none, in this one."""
    from service.inference.local.engine import LocalEngine

    where = engine_options(settings)
    current: Callable[[], PromptedModel]
    old: Callable[[str], PromptedModel]
    if settings.engine_processes:
        processes = processes or EngineProcessPool.of(settings)
        processes.on_start = metrics.engine_starts.inc
        current, on_stop = processes.current, processes.close
        old = partial(_old_model, processes, storage)
    else:
        from skeleton_prompt.model.engine import Engine  # and with it torch, which a gateway needs for nothing else

        current, on_stop = partial(Engine.load, settings.backbone, threads=1, **where), lambda: None
        old = partial(old_engine, storage, where=where)
    engine = LocalEngine(
        current,
        prompt_cache,
        queue_size=settings.max_queue_rows,
        batch_size=settings.max_batch_size,
        on_batch=metrics.record_batch,
        load_old=old,
        old_models=settings.max_old_backbones,
        threads=settings.engine_processes or 1,
        queue_seconds=settings.max_queue_wait_seconds,
        on_stop=on_stop,
    )
    look = prompt_cache.stats
    metrics.registry.register(EngineStatsCollector(lambda: {"embedded": look(old_backbones=engine.old_models)}))
    return engine


def _old_model(processes: EngineProcessPool, storage: Storage, sha256: str) -> PromptedModel:
    return processes.older(sha256, partial(load_old_backbone, storage, sha256))
