"""Tuning jobs: list, look, cancel, follow."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import Response

from service import errors
from service.gateway import schemas
from service.gateway.http.auth import Access, RequireAnyScope, RequireTune
from service.gateway.http.openapi import describe_route
from service.gateway.http.pagination import After, Limit, page
from service.gateway.state.context import json_response, run_in_thread
from service.storage.records import JobEvent, JobRecord, JobState

router = APIRouter(tags=["jobs"])

FINISHED = {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}
MAX_EVENT_ID = 2**62
HIDDEN = {"skipped"}  # options that are facts of the request, shown elsewhere


def time_of(moment: datetime | None) -> str | None:
    """A time as ISO 8601 in UTC."""
    return moment.isoformat().replace("+00:00", "Z") if moment else None


def job_document(job: JobRecord) -> dict[str, Any]:
    """A job as the API shows it."""
    return {
        "job": job.id,
        "tenant": job.tenant,
        "kind": job.kind.value,
        "state": job.state.value,
        "progress": job.progress,
        "step": job.step,
        "message": job.message,
        "attempt": job.attempt,
        "queue_position": job.queue_position,
        "eta_seconds": job.eta_seconds,
        "clips": job.clips,
        "skipped": job.options.get("skipped", []),
        "options": {name: value for name, value in job.options.items() if name not in HIDDEN},
        "cancel_requested": job.cancel_requested,
        "created": time_of(job.created),
        "started": time_of(job.started),
        "finished": time_of(job.finished),
        "error": job.error,
        "first_version": job.first_version,
        "version": job.version,
        "activated": job.activated,
        "reason": job.reason,
    }


def event_document(event: JobEvent) -> dict[str, Any]:
    """An event as the API shows it."""
    return {
        "id": event.id,
        "time": time_of(event.time),
        "state": event.state.value,
        "progress": event.progress,
        "step": event.step,
        "message": event.message,
    }


@router.get(
    "/tenants/{tenant}/jobs",
    summary="List jobs, newest first",
    **describe_route(schemas.page(schemas.Job), fails=(errors.NotFound, errors.InvalidRequest)),
)
async def list_jobs(limit: Limit = 50, after: After = None, access: Access = RequireAnyScope) -> Response:
    """Any scope."""
    return page(await run_in_thread(access.repository.list_jobs, limit, after), job_document)


@router.get(
    "/tenants/{tenant}/jobs/{job}", summary="Look at a job", **describe_route(schemas.Job, fails=(errors.NotFound,))
)
async def get_job(job: str, access: Access = RequireAnyScope) -> Response:
    """Any scope."""
    return json_response(job_document(await run_in_thread(access.repository.get_job, job)))


@router.post(
    "/tenants/{tenant}/jobs/{job}/cancel",
    summary="Cancel a job",
    **describe_route(schemas.Job, fails=(errors.Forbidden, errors.NotFound, errors.JobFinished)),
)
async def cancel_job(job: str, access: Access = RequireTune) -> Response:
    """Scope tune. Asking again changes nothing; a job that has ended otherwise answers 409."""
    return json_response(job_document(await run_in_thread(access.repository.cancel_job, job)))


@router.get(
    "/tenants/{tenant}/jobs/{job}/events",
    summary="Follow a job",
    **describe_route(
        schemas.page(schemas.JobEvent),
        fails=(errors.NotFound, errors.InvalidRequest, errors.QuotaExceeded, errors.Overloaded),
        content={
            "application/json": {"schema": {"$ref": "#/components/schemas/JobEventPage"}},
            "text/event-stream": {"schema": {"type": "string"}},
        },
    ),
)
async def job_events(
    request: Request,
    job: str,
    after: Annotated[int | None, Query(ge=0, le=MAX_EVENT_ID, description="Answer as JSON, from here on.")] = None,
    access: Access = RequireAnyScope,
) -> Response:
    """Any scope. Server-sent events with ids, which `Last-Event-ID` continues; with `after` JSON for those who poll."""
    streamed = after is None and not request.headers.get("accept", "").startswith("application/json")
    if streamed:
        access.gateway.streams.require_room(access.tenant)
    await run_in_thread(access.repository.get_job, job)
    if not streamed:
        events = await run_in_thread(access.repository.job_events, job, after or 0)
        return json_response({"items": [event_document(event) for event in events], "next": None})
    last = request.headers.get("last-event-id", "")
    start = int(last) if last.isascii() and last.isdigit() and len(last) < 19 else 0
    return EventSourceResponse(_stream(access, job, start), ping=15, headers={"Cache-Control": "no-store"})


async def _stream(access: Access, job: str, after: int) -> AsyncIterator[ServerSentEvent]:
    """Events as they happen, until the job has ended, its tenant is erased or the key is revoked."""
    with access.gateway.streams.watch(access.tenant, job, access.principal.key_id) as watcher:
        while True:
            watcher.woken.clear()
            # State first: what happens between the two reads is then in the events or comes in the next round.
            try:
                record = await run_in_thread(access.repository.get_job, job)
                events = await run_in_thread(access.repository.job_events, job, after)
            except errors.NotFound:
                return
            for event in events:
                after = event.id
                yield ServerSentEvent(json.dumps(event_document(event)), id=str(event.id), event=event.state.value)
            if record.state in FINISHED:
                return
            await watcher.woken.wait()
            if watcher.revoked:
                return
