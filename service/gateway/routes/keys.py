"""Keys of a tenant: create, list, revoke. A secret is shown once; only its keyed hash is stored."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service import errors
from service.gateway import schemas
from service.gateway.http import request_body
from service.gateway.http.auth import Access, RequireManage
from service.gateway.http.idempotency import Document, run_idempotent
from service.gateway.http.openapi import CREATES, describe_route
from service.gateway.http.pagination import After, Limit, page
from service.gateway.routes.tenants import MAX_BODY, key_document
from service.gateway.state.context import run_in_thread
from service.storage.records import Principal

router = APIRouter(tags=["keys"])

SCOPES = ("predict", "tune", "manage")


def read_scopes(document: dict[str, Any], principal: Principal) -> list[str]:
    """The scopes asked for; where none are named, those of the caller.

    Raises:
        InvalidRequest: They are not a list of known scopes.
        Forbidden: The caller's own key lacks one of them.
    """
    own = [scope for scope in SCOPES if principal.kind == "admin" or scope in principal.scopes]
    scopes = document.get("scopes", own)
    if (
        not isinstance(scopes, list)
        or not scopes
        or any(not isinstance(scope, str) or scope not in SCOPES for scope in scopes)
    ):
        message = f"scopes must be a list of one or more of {', '.join(SCOPES)}"
        raise errors.InvalidRequest(
            "The scopes are not valid.", errors=[{"loc": "scopes", "rule": "bad_scopes", "message": message}]
        )
    lacking = [scope for scope in SCOPES if scope in scopes and scope not in own]
    if lacking:
        raise errors.Forbidden(f"The key lacks the scope {', '.join(lacking)} and cannot grant it.")
    return [scope for scope in SCOPES if scope in scopes]


@router.post(
    "/tenants/{tenant}/keys",
    summary="Make a key",
    **describe_route(
        schemas.KeyWithSecret,
        status=201,
        fails=(*CREATES, errors.Forbidden, errors.NotFound),
        body=schemas.NewKey,
        idempotent=True,
    ),
)
async def create_key(request: Request, access: Access = RequireManage) -> Response:
    """Scope manage. The secret is shown this once; a key cannot grant a scope that it lacks."""
    gateway = access.gateway
    request_body.media_type_of(request, request_body.JSON)
    body = await request_body.read(request, MAX_BODY, "64 KiB for this route")
    document = request_body.decode(body, request_body.JSON, gateway.settings.max_json_depth) if body else {}
    scopes = read_scopes(document, access.principal)

    async def make() -> tuple[int, Document]:
        key, secret = await run_in_thread(access.repository.create_key, scopes)
        gateway.secrets.put(key.id, secret)
        return 201, key_document(key)

    def finish(document: Document) -> tuple[Document, dict[str, str]]:
        return document | {"secret": gateway.secrets.get(document["id"])}, {}

    return await run_idempotent(request, access.repository, body, make, finish=finish)


@router.get(
    "/tenants/{tenant}/keys",
    summary="List keys",
    **describe_route(schemas.page(schemas.Key), fails=(errors.Forbidden, errors.NotFound, errors.InvalidRequest)),
)
async def list_keys(limit: Limit = 50, after: After = None, access: Access = RequireManage) -> Response:
    """Scope manage. Without secrets."""
    return page(await run_in_thread(access.repository.list_keys, limit, after), key_document)


@router.delete(
    "/tenants/{tenant}/keys/{key}",
    summary="Revoke a key",
    **describe_route(status=204, fails=(errors.Forbidden, errors.NotFound)),
)
async def delete_key(key: str, access: Access = RequireManage) -> Response:
    """Scope manage. The next request with it answers 401."""
    await run_in_thread(access.repository.delete_key, key)
    access.gateway.secrets.forget(key)
    return Response(status_code=204)
