"""Tenants: make, list, look, erase. For the admin key, except that a tenant may look at itself."""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service import errors
from service.gateway import schemas
from service.gateway.http import request_body
from service.gateway.http.auth import Access, RequireAdmin, RequireAdminForTenant, RequireAnyScope
from service.gateway.http.field_validation import FieldReader
from service.gateway.http.idempotency import Document, run_idempotent
from service.gateway.http.openapi import CREATES, describe_route
from service.gateway.http.pagination import After, Limit, page
from service.gateway.routes.jobs import time_of
from service.gateway.state.context import context_of, json_response, run_in_thread
from service.storage.records import KeyRecord, Principal, TenantRecord
from skeleton_prompt.model.prompt_file import PromptRef

router = APIRouter(tags=["tenants"])

ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
MAX_BODY = 64 << 10
MAX_NAME = 128


def tenant_document(tenant: TenantRecord) -> dict[str, Any]:
    """A tenant as the API shows it."""
    return {"id": tenant.id, "name": tenant.name, "created": time_of(tenant.created)}


def key_document(key: KeyRecord) -> dict[str, Any]:
    """A key as the API shows it."""
    return {"id": key.id, "scopes": sorted(key.scopes), "created": time_of(key.created)}


@router.post(
    "/tenants",
    summary="Make a tenant",
    **describe_route(
        schemas.TenantWithKey,
        status=201,
        fails=(*CREATES, errors.Forbidden, errors.TenantExists),
        body=schemas.NewTenant,
        idempotent=True,
    ),
)
async def create_tenant(request: Request, _: Principal = RequireAdmin) -> Response:
    """Admin key. The secret of the first key is shown this once."""
    gateway = context_of(request)
    request_body.media_type_of(request, request_body.JSON)
    body = await request_body.read(request, MAX_BODY, "64 KiB for this route")
    fields = FieldReader(request_body.decode(body, request_body.JSON, gateway.settings.max_json_depth))
    tenant_id = fields.text("id", 63, required=True)
    name = fields.text("name", MAX_NAME)
    if tenant_id is not None and not ID.fullmatch(tenant_id):
        fields.problem("id", "bad_tenant_id", "id must match [a-z0-9][a-z0-9_-]{0,62}")
    fields.check()
    if tenant_id is None:  # unreachable: its absence is a problem
        raise errors.InvalidRequest("id is missing.")

    async def make() -> tuple[int, Document]:
        tenant, key, secret = await run_in_thread(gateway.storage.admin.create_tenant, tenant_id, name)
        gateway.secrets.put(key.id, secret)
        return 201, tenant_document(tenant) | {"key": key_document(key)}

    def finish(document: Document) -> tuple[Document, dict[str, str]]:
        key = document["key"] | {"secret": gateway.secrets.get(document["key"]["id"])}
        return document | {"key": key}, {"Location": f"/tenants/{tenant_id}"}

    return await run_idempotent(request, gateway.storage.tenant(tenant_id), body, make, finish=finish)


@router.get(
    "/tenants",
    summary="List tenants",
    **describe_route(schemas.page(schemas.Tenant), fails=(errors.Forbidden, errors.InvalidRequest)),
)
async def list_tenants(
    request: Request, limit: Limit = 50, after: After = None, _: Principal = RequireAdmin
) -> Response:
    """Admin key."""
    return page(await run_in_thread(context_of(request).storage.admin.list_tenants, limit, after), tenant_document)


@router.get("/tenants/{tenant}", summary="Look at a tenant", **describe_route(schemas.Tenant, fails=(errors.NotFound,)))
async def get_tenant(access: Access = RequireAnyScope) -> Response:
    """Any scope, or the admin key."""
    return json_response(tenant_document(await run_in_thread(access.gateway.storage.admin.get_tenant, access.tenant)))


@router.delete(
    "/tenants/{tenant}",
    summary="Erase a tenant and everything of it",
    **describe_route(schemas.Receipt, fails=(errors.Forbidden, errors.NotFound)),
)
async def delete_tenant(access: Access = RequireAdminForTenant) -> Response:
    """Admin key. The receipt lists what was erased."""
    gateway = access.gateway
    gateway.usage.forget(access.tenant)
    gateway.recent.forget(access.tenant)

    def erase() -> dict[str, Any]:
        refs = refs_of(access)
        receipt = gateway.storage.admin.delete_tenant(access.tenant)
        gateway.prompts.erase(refs)
        gateway.prompts.forget(access.tenant)
        gateway.prompts.announce_erased(access.tenant)
        gateway.exports.evict(access.tenant)
        return receipt

    return json_response(await run_in_thread(erase))


def refs_of(access: Access) -> list[PromptRef]:
    """The addresses of all prompts of a tenant; blocks."""
    refs: list[PromptRef] = []
    after: str | None = None
    while True:
        found = access.repository.list_prompts(200, after)
        refs += [PromptRef(access.tenant, prompt.version, prompt.sha256) for prompt in found.items]
        after = found.next
        if after is None:
            return refs
