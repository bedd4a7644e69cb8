"""What a route says about itself in the OpenAPI document: body, answers, and the errors it can give."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service import errors
from service.errors import ServiceError
from service.gateway import schemas
from service.gateway.http.request_body import JSON

REF = "#/components/schemas/{model}"
PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
NEEDS_KEY = (errors.Unauthenticated, errors.StorageUnavailable)
BODY = (errors.MalformedBody, errors.TooLarge, errors.UnsupportedMediaType, errors.InvalidRequest)
STORES = (errors.StorageFull,)
CREATES = (*BODY, *STORES, errors.IdempotencyConflict)
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}
EVERYWHERE = (errors.Internal, errors.MethodNotAllowed, errors.RequestTimeout, errors.HeadersTooLarge)

_bodies: set[type[BaseModel]] = {schemas.Problem}


def describe_route(
    answer: type[BaseModel] | None = None,
    *,
    status: int = 200,
    other: dict[int | str, Any] | None = None,
    content: dict[str, Any] | None = None,
    fails: Iterable[type[ServiceError]] = (),
    body: type[BaseModel] | None = None,
    forms: tuple[str, ...] = (JSON,),
    key: bool = True,
    idempotent: bool = False,
) -> dict[str, Any]:
    """Arguments for a route's decorator.

    Args:
        answer: The shape of the success.
        status: Its status.
        other: Further answers, as FastAPI's ``responses``.
        content: Media types of the success, where it is not JSON.
        fails: Errors that the route can give, beyond those that all keyed routes have.
        body: The shape of the request.
        forms: Media types of the request.
        key: Whether a key is needed.
        idempotent: Whether ``Idempotency-Key`` is honoured.
    """
    success: dict[str, Any] = {"description": (answer.__doc__ or "Done.").splitlines()[0] if answer else "Done."}
    if content is not None:
        success["content"] = content
        if answer is not None:
            _bodies.add(answer)
    elif answer is not None:
        success["model"] = answer
    responses: dict[int | str, Any] = {status: success, **(other or {})}
    responses |= _error_answers((*EVERYWHERE, *(NEEDS_KEY if key else ()), *fails))
    extra: dict[str, Any] = {"security": [{"key": []}] if key else []}
    if body is not None:
        _bodies.add(body)
        schema = {"$ref": REF.format(model=body.__name__)}
        extra["requestBody"] = {"required": True, "content": {form: {"schema": schema} for form in forms}}
    if idempotent:
        extra["parameters"] = [IDEMPOTENCY_KEY]
    return {"status_code": status, "responses": responses, "openapi_extra": extra, "response_model": None}


def _error_answers(kinds: Iterable[type[ServiceError]]) -> dict[int | str, Any]:
    """The answers for errors, those of one status together."""
    by_status: dict[int, set[str]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, set()).add(kind.code)
    return {
        status: {
            "description": " or ".join(f"`{code}`" for code in sorted(codes)),
            "content": PROBLEM,
            "x-codes": sorted(codes),
        }
        for status, codes in sorted(by_status.items())
    }


def install(app: FastAPI) -> None:
    """Have the application serve the whole document at ``/openapi.json``."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _build(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _build(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    components = document.setdefault("components", {})
    made = components.setdefault("schemas", {})
    wanted = [(model, "validation") for model in sorted(_bodies, key=lambda model: model.__name__)]
    _, definitions = models_json_schema(wanted, ref_template=REF)  # type: ignore[arg-type]
    for name, schema in definitions.get("$defs", {}).items():
        made.setdefault(name, schema)
    for operations in document["paths"].values():
        for operation in operations.values():
            # FastAPI's own 422 of routes whose parameters are all strings, and so cannot fail.
            if "x-codes" not in operation["responses"].get("422", {"x-codes": ()}):
                del operation["responses"]["422"]
    for unused in ("HTTPValidationError", "ValidationError"):
        made.pop(unused, None)
    made["Problem"]["properties"]["code"]["enum"] = sorted(kind.code for kind in all_errors())
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return document


def all_errors() -> list[type[ServiceError]]:
    """Every documented error."""
    found: dict[str, type[ServiceError]] = {}
    waiting = [ServiceError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind is not ServiceError and getattr(kind, "code", None):
            found.setdefault(kind.code, kind)
    return list(found.values())
