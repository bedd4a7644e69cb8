"""Stored clips: upload, list, look, preview, delete."""

from __future__ import annotations

import contextlib
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service import errors
from service.gateway import schemas
from service.gateway.http import request_body
from service.gateway.http.auth import Access, RequireAnyScope, RequireManage, RequireTune
from service.gateway.http.idempotency import run_idempotent
from service.gateway.http.openapi import CREATES, describe_route
from service.gateway.http.pagination import After, Limit, page
from service.gateway.operations.clip_intake import ClipUpload, require_few_clips
from service.gateway.operations.prediction import max_items
from service.gateway.operations.pricing import admit, charge
from service.gateway.operations.quotas import require_free_disk, require_room_for_clips
from service.gateway.routes.jobs import time_of
from service.gateway.state.context import json_response, run_in_thread
from service.storage.records import ClipRecord
from skeleton_prompt.clips.clip import clip_document
from skeleton_prompt.render import draw_clip

router = APIRouter(tags=["clips"])

LARGE_BODY = 1 << 20  # from here on one body is decoded at a time

# An image that a browser opens by itself must not be able to run anything either.
SVG_CSP = "default-src 'none'; style-src 'unsafe-inline'; sandbox"


def record_document(record: ClipRecord) -> dict[str, Any]:
    """A stored clip without its keypoints, as the API shows it."""
    return {
        "id": record.id,
        "client_id": record.client_id,
        "label": record.label,
        "background": record.background,
        "group": record.group,
        "layout": record.layout,
        "frames": record.frames,
        "people": record.people,
        "fps": record.fps,
        "bytes": record.bytes,
        "created": time_of(record.created),
        "source": record.source,
    }


@router.post(
    "/tenants/{tenant}/clips",
    summary="Store labelled clips for a later tuning",
    **describe_route(
        schemas.ClipIds,
        status=201,
        fails=(
            *CREATES,
            errors.Forbidden,
            errors.NotFound,
            errors.InvalidClips,
            errors.RateLimited,
            errors.QuotaExceeded,
        ),
        body=schemas.NewClips,
        forms=(request_body.JSON, request_body.MSGPACK),
        idempotent=True,
    ),
)
async def add_clips(request: Request, access: Access = RequireTune) -> Response:
    """Scope tune. All or nothing; clips in which nothing is visible are skipped and named."""
    await admit(request, access.gateway, access.tenant)
    async with access.gateway.uploads.hold(access.tenant):
        return await _add_clips(request, access)


async def _add_clips(request: Request, access: Access) -> Response:
    """``add_clips`` within the tenant's share of uploads."""
    gateway, settings = access.gateway, access.gateway.settings
    await run_in_thread(require_free_disk, settings)
    media_type = request_body.media_type_of(request, request_body.JSON, request_body.MSGPACK)
    body = await request_body.read(request, settings.max_tune_bytes, "max_tune_bytes")

    def decode() -> list[Any]:
        document = request_body.decode(body, media_type, settings.max_json_depth, max_items=max_items(settings))
        clips = document.get("clips")
        if not isinstance(clips, list) or not clips:
            row = {"loc": "clips", "rule": "missing_clips", "message": "clips must be a list of at least one clip"}
            raise errors.InvalidRequest("There are no clips.", errors=[row])
        require_few_clips(clips, settings.max_tune_clips)
        return clips

    async def make() -> tuple[int, dict[str, Any]]:
        upload = ClipUpload(settings)
        async with gateway.large_body if len(body) > LARGE_BODY else contextlib.nullcontext():
            await upload.add_all(await run_in_thread(decode))
        await charge(request, gateway, access.tenant, upload.windows)
        upload.check()
        ids: list[str] = []
        if upload.clips:
            await run_in_thread(require_room_for_clips, settings, access.repository, upload.clips)
            ids = await run_in_thread(access.repository.add_clips, upload.clips, source="upload")
        return 201, {"ids": ids, "skipped": upload.skipped}

    return await run_idempotent(request, access.repository, body, make)


@router.get(
    "/tenants/{tenant}/clips",
    summary="List stored clips",
    **describe_route(schemas.page(schemas.ClipRecord), fails=(errors.NotFound, errors.InvalidRequest)),
)
async def list_clips(limit: Limit = 50, after: After = None, access: Access = RequireAnyScope) -> Response:
    """Any scope."""
    return page(await run_in_thread(access.repository.list_clips, limit, after), record_document)


@router.get(
    "/tenants/{tenant}/clips/{clip}",
    summary="Look at a stored clip",
    **describe_route(schemas.StoredClip, fails=(errors.NotFound,)),
)
async def get_clip(clip: str, access: Access = RequireAnyScope) -> Response:
    """Any scope. With its keypoints."""

    def read() -> dict[str, Any]:
        record, stored = access.repository.get_clip(clip)
        return record_document(record) | {"clip": clip_document(stored)}

    return json_response(await run_in_thread(read))


@router.get(
    "/tenants/{tenant}/clips/{clip}/preview.svg",
    summary="Watch a stored clip",
    **describe_route(fails=(errors.NotFound,), content={"image/svg+xml": {"schema": {"type": "string"}}}),
)
async def preview(clip: str, access: Access = RequireAnyScope) -> Response:
    """Any scope. An animated skeleton."""

    def draw() -> str:
        _, stored = access.repository.get_clip(clip)
        return draw_clip(stored)

    return Response(await run_in_thread(draw), headers={"Content-Security-Policy": SVG_CSP}, media_type="image/svg+xml")


@router.delete(
    "/tenants/{tenant}/clips/{clip}",
    summary="Delete a stored clip",
    **describe_route(status=204, fails=(errors.Forbidden, errors.NotFound)),
)
async def delete_clip(clip: str, access: Access = RequireManage) -> Response:
    """Scope manage."""
    await run_in_thread(access.repository.delete_clip, clip)
    return Response(status_code=204)
