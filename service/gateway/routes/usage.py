"""``GET /tenants/{tenant}/usage``: what was used, day by day."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from service import errors
from service.gateway import schemas
from service.gateway.http.auth import Access, RequireAnyScope
from service.gateway.http.openapi import describe_route
from service.gateway.http.pagination import After, Limit, page, page_of
from service.gateway.state.context import run_in_thread
from service.storage.records import UsageDay

router = APIRouter(tags=["tenants"])


def _document(day: UsageDay) -> dict[str, Any]:
    return {
        "day": str(day.day),
        "predictions": day.predictions,
        "tuning_seconds": day.tuning_seconds,
        "stored_bytes": day.stored_bytes,
    }


@router.get(
    "/tenants/{tenant}/usage",
    summary="Predictions, tuning seconds and stored bytes per day",
    **describe_route(schemas.page(schemas.UsageDay), fails=(errors.NotFound, errors.InvalidRequest)),
)
async def usage(
    days: Annotated[int, Query(ge=1, le=366)] = 30,
    limit: Limit = 200,
    after: After = None,
    access: Access = RequireAnyScope,
) -> Response:
    """Any scope. Predictions are people predicted; a timeline counts as one."""
    await access.gateway.usage.flush(access.tenant)
    found = await run_in_thread(access.repository.usage, days)
    return page(page_of(found, lambda day: str(day.day), limit, after), _document)
