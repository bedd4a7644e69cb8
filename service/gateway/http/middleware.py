"""ASGI middleware: request id, timing, rate headers, log line, counters, and a 500 for unhandled exceptions."""

from __future__ import annotations

import random
import re
import time

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.gateway.http.problem_details import as_service_error, problem_response
from service.metrics import Metrics

log = structlog.get_logger("service.access")

# What a client may choose: enough for a UUID or a trace id, and nothing that could break a log line or a header.
_CLIENT_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)
_QUIET = {"/livez", "/readyz", "/metrics"}  # polled every few seconds: only failures are logged
_UNKNOWN = "unknown"  # the label for all addresses without a route


class RequestMiddleware:
    """Adds ``X-Request-Id``, ``Server-Timing`` and ``RateLimit``; converts unhandled exceptions into a generic 500.

    Args:
        app: The wrapped application.
        metrics: Counters of requests.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = _request_id(scope)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                total = f"total;dur={1000 * (time.perf_counter() - began):.2f}"
                timing = f"{state['timing']}, {total}" if "timing" in state else total
                message["headers"] += [
                    (b"x-request-id", request_id.encode()),
                    (b"server-timing", timing.encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
                rate = state.get("rate")
                if rate is not None:
                    message["headers"] += rate.headers
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            log.error("unforeseen", request_id=request_id, exc_info=True)
            if status:  # part of the response is sent: only a closed connection can show the error
                raise
            response = problem_response(as_service_error(error), request_id)
            await response(scope, receive, send_with_headers)
        finally:
            self._record(scope, request_id, status, time.perf_counter() - began)

    def _record(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", _UNKNOWN)
        method = scope["method"] if route != _UNKNOWN else _UNKNOWN
        self._metrics.http_requests.labels(method, route, status).inc()
        self._metrics.http_request_duration_seconds.labels(route).observe(seconds)
        if status >= 400 or route not in _QUIET:
            level = log.warning if status >= 500 else log.info
            # The route, not the address, which may hold secrets.
            level("request", id=request_id, method=method, route=route, status=status, ms=round(1000 * seconds, 2))


def _request_id(scope: Scope) -> str:
    given = Request(scope).headers.get("x-request-id", "")
    if _CLIENT_ID.fullmatch(given):
        return given
    return f"{random.getrandbits(128):032x}"  # not a secret
