"""Who asks, and whether they may: bearer keys, scopes, and one 404 for all that is not theirs."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import Depends
from starlette.requests import Request

from service.errors import Forbidden, NotFound, Unauthenticated
from service.gateway.state.context import GatewayContext, context_of, run_in_thread
from service.storage.records import Principal
from service.storage.store import TenantRepository

MAX_SECRET = 512
NOT_FOUND = "There is no such resource, or it is not for this key."


@dataclass(frozen=True)
class Access:
    """A caller who may do what the route does, on the tenant of its path.

    Attributes:
        principal: Who asks.
        tenant: Whose data it is about.
        repository: That data.
        gateway: The parts of the service.
    """

    principal: Principal
    tenant: str
    repository: TenantRepository
    gateway: GatewayContext


def secret_of(request: Request) -> str:
    """The key in the ``Authorization`` header.

    Raises:
        Unauthenticated: There is none, or it cannot be one.
    """
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret or len(secret) > MAX_SECRET:
        raise Unauthenticated("A key is needed: Authorization: Bearer <key>.")
    return secret


async def principal_of(request: Request) -> Principal:
    """Who asks.

    Raises:
        Unauthenticated: No key, or one that is not known.
    """
    admin, secret = context_of(request).storage.admin, secret_of(request)
    found = admin.authenticate_nowait(secret)
    principal = found[0] if found is not None else await run_in_thread(admin.authenticate, secret)
    if principal is None:
        raise Unauthenticated("The key is not known.")
    return principal


def require_scope(principal: Principal, scope: str | None) -> None:
    """Refuse a tenant key that lacks a scope.

    Raises:
        Forbidden: It does.
    """
    if principal.kind != "admin" and scope is not None and scope not in principal.scopes:
        raise Forbidden(f"The key lacks the scope {scope}.")


async def admin(request: Request) -> Principal:
    """The caller, who must have the admin key.

    Raises:
        Forbidden: It is a tenant's key.
    """
    principal = await principal_of(request)
    if principal.kind != "admin":
        raise Forbidden("This needs the admin key.")
    return principal


async def observer(request: Request) -> None:
    """Let the metrics key pass, and the admin key.

    Raises:
        Forbidden: It is a tenant's key.
    """
    key = context_of(request).settings.metrics_key
    given = secret_of(request).encode()
    if key is None or not hmac.compare_digest(given, key.get_secret_value().encode()):
        await admin(request)


def tenant_access(scope: str | None, *, admin_only: bool = False) -> Callable[..., Awaitable[Access]]:
    """A dependency: the caller may use the tenant of the path.

    Args:
        scope: What a tenant's key must be good for; None: anything.
        admin_only: Whether a tenant's own key is not enough.
    """

    async def access(request: Request, tenant: str) -> Access:
        gateway = context_of(request)
        principal = await principal_of(request)
        if principal.kind == "admin":
            # The repository of a tenant that does not exist would answer with empty lists.
            await run_in_thread(gateway.storage.admin.get_tenant, tenant)
        elif principal.tenant != tenant:
            raise NotFound(NOT_FOUND)
        elif admin_only:
            raise Forbidden("This needs the admin key.")
        require_scope(principal, scope)
        return Access(principal, tenant, gateway.storage.tenant(tenant), gateway)

    return access


RequireAdmin = Depends(admin)
RequireMetricsKey = Depends(observer)
RequireAnyScope = Depends(tenant_access(None))
RequireTune = Depends(tenant_access("tune"))
RequireManage = Depends(tenant_access("manage"))
RequireAdminForTenant = Depends(tenant_access(None, admin_only=True))
