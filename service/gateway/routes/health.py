"""Whether the service lives, whether it can predict, and what it has counted."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service import errors
from service.gateway import schemas
from service.gateway.http.auth import RequireMetricsKey
from service.gateway.http.openapi import describe_route
from service.gateway.state.context import context_of, json_response, run_in_thread

router = APIRouter(tags=["operate"])

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


@router.get("/livez", summary="Whether the process answers", **describe_route(schemas.Status, key=False))
async def livez() -> Response:
    """Says nothing about the engine: a restart would not help where this answers."""
    return json_response({"status": "alive"})


@router.get(
    "/readyz",
    summary="Whether predictions are possible",
    **describe_route(schemas.Status, fails=(errors.EngineUnavailable,), key=False),
)
async def readyz(request: Request) -> Response:
    """By a real forward pass, up to a second ago, or longer where the engine is busy."""
    gateway = context_of(request)
    engine = gateway.engine
    if not await gateway.readiness.check():
        why = engine.unavailable_reason or "The engine did not complete a forward pass."
        raise errors.EngineUnavailable(why, retry_after=2.0)
    return json_response({"status": "ready"})


@router.get(
    "/metrics",
    summary="Counters for Prometheus",
    dependencies=[RequireMetricsKey],
    **describe_route(fails=(errors.Forbidden,), content={"text/plain": {"schema": {"type": "string"}}}),
)
async def metrics(request: Request) -> Response:
    """Admin key, or the one that can do nothing else. No tenant appears in a label."""
    gateway = context_of(request)
    await gateway.engine.refresh()
    gateway.metrics.queue_depth.set(gateway.engine.waiting)
    gateway.metrics.old_backbones_loaded.set(gateway.engine.old_models)
    try:
        gateway.metrics.set_unfinished_jobs(await run_in_thread(gateway.storage.dispatch.unfinished_jobs))
    except errors.ServiceError:
        gateway.metrics.set_unfinished_jobs(
            None
        )  # the database is away, which is when the other counters are wanted most
    return Response(gateway.metrics.page(), media_type=PROMETHEUS)
