"""Every error in one shape: RFC 9457 ``application/problem+json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match

from service.errors import (
    Internal,
    InvalidRequest,
    MalformedBody,
    MethodNotAllowed,
    NotFound,
    ServiceError,
    StorageFull,
    StorageUnavailable,
    UnsupportedMediaType,
)

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 100
_BY_STATUS: dict[int, tuple[type[ServiceError], str]] = {
    404: (NotFound, "Resource not found."),
    405: (MethodNotAllowed, "This address does not support this method."),
    415: (UnsupportedMediaType, "This content type is not read here."),
}


def problem_response(error: ServiceError, request_id: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error as a response."""
    extra = dict(headers or {})
    if error.retry_after is not None:
        extra["Retry-After"] = str(max(1, round(error.retry_after)))
    if error.status == 401:
        extra["WWW-Authenticate"] = "Bearer"
    return Response(problem_body(error, request_id), error.status, extra, MEDIA_TYPE)


def problem_body(error: ServiceError, request_id: str) -> bytes:
    """An error as JSON. A lone surrogate in an echoed text becomes a question mark: it has no UTF-8."""
    document = error.problem(request_id)
    try:
        return orjson.dumps(document, default=str)
    except orjson.JSONEncodeError:
        return orjson.dumps(_encodable(document), default=str)


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {key: _encodable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    return value


def as_service_error(error: Exception) -> ServiceError:
    """The documented error for an exception; ``Internal`` for an unhandled one."""
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, RequestValidationError):
        return _invalid_parameters(error)
    if isinstance(error, HTTPException):
        kind, detail = _BY_STATUS.get(error.status_code, (MalformedBody, "The request cannot be read."))
        return kind(detail)
    if isinstance(error, ClientDisconnect):
        return MalformedBody("The body ended too early.")
    if isinstance(error, OperationalError | PoolTimeout):
        full = "full" in str(getattr(error, "orig", ""))
        if full:
            return StorageFull("There is no room left to store this.")
        return StorageUnavailable("The database does not answer.", retry_after=2.0)
    if isinstance(error, OSError) and error.errno in (28, 122):  # ENOSPC, EDQUOT
        return StorageFull("There is no room left to store this.")
    return Internal("Something went wrong; the log has it under this request id.")


def _invalid_parameters(error: RequestValidationError) -> InvalidRequest:
    rows = [
        {"loc": ".".join(str(part) for part in row["loc"]), "rule": row["type"], "message": row["msg"]}
        for row in error.errors()[:MAX_ERRORS]
    ]
    return InvalidRequest("The request's parameters are not valid.", errors=rows)


async def _problem_handler(request: Request, error: Exception) -> Response:
    service_error = as_service_error(error)
    if service_error.status >= 500:
        expected = isinstance(error, ServiceError)
        log.warning("failed", code=service_error.code, error=repr(error), exc_info=None if expected else error)
    headers = {"Allow": _allowed(request)} if service_error.status == 405 else None
    return problem_response(service_error, request.state.request_id, headers)


def _allowed(request: Request) -> str:
    """Methods of all routes that have the address of the request; the router names those of the first only."""
    methods: set[str] = set()
    for route in request.app.state.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    return ", ".join(sorted(methods))


def install(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Register the handler of all expected exceptions; the middleware converts the others.

    Args:
        app: The application.
        routes: All routes of it, for the methods that an address supports.
    """
    app.state.routes = routes
    for kind in (
        ServiceError,
        RequestValidationError,
        HTTPException,
        ClientDisconnect,
        OperationalError,
        PoolTimeout,
        OSError,
    ):
        app.add_exception_handler(kind, _problem_handler)
