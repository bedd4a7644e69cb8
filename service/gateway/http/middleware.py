"""Around every request, as plain ASGI: its id, its time, a log line, the counters, and the last net for errors."""

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
_QUIET = {"/livez", "/readyz", "/metrics"}  # asked every few seconds by machines: only failures are worth a line
_UNKNOWN = "unknown"  # one label for all addresses that no route has


class RequestMiddleware:
    """Adds ``X-Request-Id`` and ``Server-Timing``; logs, counts, and turns the unforeseen into a 500 that says nothing.

    Args:
        app: What it wraps.
        metrics: Where requests are counted.
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
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            log.error("unforeseen", request_id=request_id, exc_info=True)
            if status:  # half an answer is out: only breaking off can still tell the client
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
            # The route and not the address: an address may hold what a client should not have put there.
            level("request", id=request_id, method=method, route=route, status=status, ms=round(1000 * seconds, 2))


def _request_id(scope: Scope) -> str:
    given = Request(scope).headers.get("x-request-id", "")
    if _CLIENT_ID.fullmatch(given):
        return given
    return f"{random.getrandbits(128):032x}"  # it names a request and secures nothing
