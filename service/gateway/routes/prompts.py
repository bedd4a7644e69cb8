"""Prompt versions: list, look, report, activate, roll back, download, delete."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from service import errors
from service.gateway import schemas
from service.gateway.http.auth import Access, RequireAnyScope, RequireManage
from service.gateway.http.openapi import describe_route
from service.gateway.http.pagination import After, Limit, page
from service.gateway.operations.prediction import MAX_VERSION
from service.gateway.routes.jobs import time_of
from service.gateway.state.context import json_response, run_in_thread
from service.gateway.state.onnx_exporter import resolve_export
from service.storage.records import PromptRecord
from skeleton_prompt.model.prompt_file import PromptRef, digest
from skeleton_prompt.report_page import report_page

router = APIRouter(tags=["prompts"])

PAGE_CSP = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
LAYOUT = Query(
    max_length=16_640,  # 256 names of 64 characters
    description="For onnx, the layout of the keypoints it takes: a name, or joint names with commas between them. "
    "Default: that of the clip stored last, else coco17.",
)
COORDS = Query(description="For onnx, 2-D or 3-D keypoints. Default: as the clip stored last, else xyc.")
OF_VERSION = (errors.NotFound, errors.VersionNotFound)


def prompt_document(prompt: PromptRecord) -> dict[str, Any]:
    """A version as the API shows it."""
    return {
        "version": prompt.version,
        "active": prompt.active,
        "labels": list(prompt.labels),
        "sha256": prompt.sha256,
        "backbone_sha256": prompt.backbone_sha256,
        "parameters": prompt.parameters,
        "bytes": prompt.bytes,
        "created": time_of(prompt.created),
        "metrics": prompt.metrics,
        "job": prompt.job,
    }


def version_of(text: str) -> int:
    """The version that a path names.

    Raises:
        VersionNotFound: It cannot be one.
    """
    if not text.isascii() or not text.isdigit() or len(text) > 10 or not 1 <= int(text) <= MAX_VERSION:
        raise errors.VersionNotFound("There is no such version.")
    return int(text)


async def _announce_change(change: Callable[[], Any], access: Access) -> Response:
    """Move the active pointer, and show where it is now."""

    def work() -> PromptRecord:
        change()
        active = access.repository.active_prompt()
        if active is None:  # only where another request deleted it in the same moment
            raise errors.NoActivePrompt("No version is active.")
        return active

    return json_response(prompt_document(await run_in_thread(work)))


@router.get(
    "/tenants/{tenant}/prompts",
    summary="List prompt versions, newest first",
    **describe_route(schemas.page(schemas.PromptVersion), fails=(errors.NotFound, errors.InvalidRequest)),
)
async def list_prompts(limit: Limit = 50, after: After = None, access: Access = RequireAnyScope) -> Response:
    """Any scope."""
    return page(await run_in_thread(access.repository.list_prompts, limit, after), prompt_document)


@router.post(
    "/tenants/{tenant}/prompts/rollback",
    summary="Go back to the version that was active before",
    **describe_route(
        schemas.PromptVersion, fails=(errors.Forbidden, errors.NotFound, errors.VersionNotFound, errors.NoActivePrompt)
    ),
)
async def rollback(access: Access = RequireManage) -> Response:
    """Scope manage."""
    return await _announce_change(access.repository.rollback, access)


@router.get(
    "/tenants/{tenant}/prompts/{version}",
    summary="Look at a version",
    **describe_route(schemas.PromptVersion, fails=OF_VERSION),
)
async def get_prompt(version: str, access: Access = RequireAnyScope) -> Response:
    """Any scope."""
    return json_response(prompt_document(await run_in_thread(access.repository.get_prompt, version_of(version))))


@router.get(
    "/tenants/{tenant}/prompts/{version}/report",
    summary="What the tuning of a version measured",
    **describe_route(
        fails=OF_VERSION,
        content={"application/json": {"schema": {"type": "object"}}, "text/html": {"schema": {"type": "string"}}},
    ),
)
async def get_report(request: Request, version: str, access: Access = RequireAnyScope) -> Response:
    """Any scope. JSON, or a page for browsers."""
    number = version_of(version)
    report = await run_in_thread(access.repository.get_report, number)
    if "text/html" not in request.headers.get("accept", ""):
        return json_response(report)
    html = await run_in_thread(report_page, report, f"{access.tenant}, version {number}")
    return Response(html, headers={"Content-Security-Policy": PAGE_CSP}, media_type="text/html")


@router.post(
    "/tenants/{tenant}/prompts/{version}/activate",
    summary="Make a version the one that predicts",
    **describe_route(schemas.PromptVersion, fails=(errors.Forbidden, *OF_VERSION, errors.NoActivePrompt)),
)
async def activate(version: str, access: Access = RequireManage) -> Response:
    """Scope manage. A prediction that starts after this answer uses the new version."""
    number = version_of(version)
    return await _announce_change(lambda: access.repository.activate(number), access)


@router.get(
    "/tenants/{tenant}/prompts/{version}/download",
    summary="Download a version's file",
    **describe_route(
        fails=(
            *OF_VERSION, errors.InvalidRequest, errors.UnknownLayout, errors.BackboneMismatch, errors.Overloaded,
            errors.EngineUnavailable,
        ),
        content={"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    ),
)  # fmt: skip
async def download(
    version: str,
    format: Annotated[
        Literal["safetensors", "onnx"], Query(description="`onnx` is the whole model with its preprocessing.")
    ] = "safetensors",
    layout: Annotated[str | None, LAYOUT] = None,
    coords: Annotated[Literal["xyc", "xyzc"] | None, COORDS] = None,
    access: Access = RequireAnyScope,
) -> Response:
    """Any scope. A safetensors file, or an ONNX model, each with its labels and calibration in the metadata."""
    number = version_of(version)
    record = await run_in_thread(access.repository.get_prompt, number)
    if format == "onnx":
        exported = await run_in_thread(resolve_export, access.repository, record, layout, coords)
        data = await access.gateway.exports.model(access.repository, exported, record.backbone_sha256)
    elif layout is not None or coords is not None:
        loc = "query.layout" if layout is not None else "query.coords"
        problem = {"loc": loc, "rule": "only_for_onnx", "message": "this is a choice for format=onnx alone"}
        raise errors.InvalidRequest("A safetensors file has no layout.", errors=[problem])
    else:
        data = await run_in_thread(access.repository.prompt_bytes, number)
    headers = {
        "Content-Disposition": f'attachment; filename="{access.tenant}-{number}.{format}"',
        "ETag": f'"{record.sha256 if format == "safetensors" else digest(data)}"',
    }
    return Response(data, headers=headers, media_type="application/octet-stream")


@router.delete(
    "/tenants/{tenant}/prompts/{version}",
    summary="Delete a version that is not active",
    **describe_route(status=204, fails=(errors.Forbidden, *OF_VERSION, errors.VersionActive)),
)
async def delete_prompt(version: str, access: Access = RequireManage) -> Response:
    """Scope manage. The active version answers 409."""
    number = version_of(version)

    def delete() -> None:
        record = access.repository.get_prompt(number)
        access.repository.delete_prompt(number)
        access.gateway.prompts.erase([PromptRef(access.tenant, number, record.sha256)])
        access.gateway.exports.evict(access.tenant, number)

    await run_in_thread(delete)
    return Response(status_code=204)
