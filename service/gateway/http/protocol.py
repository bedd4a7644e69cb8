"""HTTP protocol of ``serve``: uvicorn's, with bounds on header bytes, reading times and connections.

uvicorn waits without limit for the first request of a connection, for the rest of its headers and for its body, and
keeps headers of any size. Each of these lets one client hold connections or memory for nothing. Errors found below the
application are answered as ``application/problem+json`` too.
"""

from __future__ import annotations

import http
import secrets
from asyncio import TimerHandle, Transport
from dataclasses import dataclass
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.errors import HeadersTooLarge, MalformedBody, Overloaded, RequestTimeout, ServiceError
from service.gateway.http.problem_details import MEDIA_TYPE, problem_body
from service.settings import Settings

MAX_HEADERS = 100
BODY_CHECK_S = 5.0
SLOW_CHECKS = 2  # in a row: a pause of the gateway itself may end just before a check


@dataclass(frozen=True)
class ConnectionLimits:
    """Limits of one connection; each is a setting.

    Attributes:
        header_bytes: Bytes of the request line and all headers.
        header_seconds: Time until the headers of a request are complete.
        body_rate: Least bytes a second of a body that is still arriving.
        connections: Connections that may be open at once.
    """

    header_bytes: int
    header_seconds: float
    body_rate: int
    connections: int


class BoundedHttpProtocol(HttpToolsProtocol):
    """One HTTP connection; ``bounded`` makes the class for some limits."""

    limits: ClassVar[ConnectionLimits]
    body_check_s: ClassVar[float] = BODY_CHECK_S

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_headers = True
        self._in_body = False
        self._header_bytes = 0
        self._header_timer: TimerHandle | None = None
        self._body_timer: TimerHandle | None = None
        self._body_bytes = 0
        self._slow_checks = 0
        self._refusal: ServiceError | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Accept a connection, or refuse it where too many are open."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._refuse(Overloaded("Too many connections are open (max_connections).", retry_after=1.0))
        else:
            self._header_timer = self.loop.call_later(self.limits.header_seconds, self._end_headers)

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop the timers of a connection that has ended."""
        self._cancel_timers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what arrived."""
        if self.transport.is_closing():
            return
        if self._in_headers:
            self._header_bytes += len(data)
        else:
            self._body_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_headers and self._header_bytes > self.limits.header_bytes:
            self._refuse(self._headers_too_large())
        elif self._in_headers and self._header_bytes and self._header_timer is None:
            self._header_timer = self.loop.call_later(self.limits.header_seconds, self._end_headers)
        elif self._in_body and self._body_timer is None:
            self._body_timer = self.loop.call_later(self.body_check_s, self._check_body)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_headers, self._in_body = True, False
        self._counted = len(self.url)

    def on_url(self, url: bytes) -> None:
        """A part of the address."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, whole."""
        super().on_header(name, value)
        self._count(len(name) + len(value) + 4)

    def on_headers_complete(self) -> None:
        """The headers are all there."""
        self._in_headers, self._in_body = False, True
        self._header_bytes = self._body_bytes = self._slow_checks = 0
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is all there; what follows on the connection is another request."""
        self._in_headers, self._in_body = True, False
        self._header_bytes = 0
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser refused; uvicorn calls this."""
        self._refuse(self._refusal or MalformedBody(msg))

    def _count(self, size: int) -> None:
        """Count a part of the headers; the parser passes on an exception as an error of its own."""
        self._counted += size
        if self._counted > self.limits.header_bytes or len(self.headers) > MAX_HEADERS:
            self._refusal = self._headers_too_large()
            raise self._refusal

    def _headers_too_large(self) -> HeadersTooLarge:
        limit = self.limits.header_bytes
        return HeadersTooLarge(f"More than {limit} bytes of headers (max_header_bytes) or {MAX_HEADERS} headers.")

    def _end_headers(self) -> None:
        self._header_timer = None
        if self.transport.is_closing():
            return
        if not self._header_bytes:  # nothing was asked, so nothing is answered
            self.transport.close()
        else:
            seconds = self.limits.header_seconds
            self._refuse(RequestTimeout(f"The headers did not arrive in {seconds:g} seconds (header_seconds)."))

    def _check_body(self) -> None:
        """Refuse a body that arrives too slowly; time in which the gateway itself does not read is not counted."""
        self._body_timer = None
        if self.transport.is_closing() or not self._in_body:
            return
        waits = self.flow.read_paused or self.cycle.waiting_for_100_continue
        slow = not waits and self._body_bytes < self.limits.body_rate * self.body_check_s
        self._slow_checks = self._slow_checks + 1 if slow else 0
        self._body_bytes = 0
        if self._slow_checks >= SLOW_CHECKS:
            rate = self.limits.body_rate
            self._refuse(RequestTimeout(f"The body arrives at less than {rate} bytes a second (min_body_rate)."))
        else:
            self._body_timer = self.loop.call_later(self.body_check_s, self._check_body)

    def _refuse(self, error: ServiceError) -> None:
        """Answer with a problem, unless an answer has begun, and close the connection."""
        self._cancel_timers()
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        if cycle is None or cycle.response_complete or not cycle.response_started:
            self.transport.write(raw_response(error))
        self.transport.close()

    def _cancel_timers(self) -> None:
        for timer in (self._header_timer, self._body_timer):
            if timer is not None:
                timer.cancel()
        self._header_timer = self._body_timer = None


def raw_response(error: ServiceError) -> bytes:
    """An error as a whole HTTP response that ends the connection."""
    request_id = secrets.token_hex(16)
    body = problem_body(error, request_id)
    headers = [
        f"HTTP/1.1 {error.status} {http.HTTPStatus(error.status).phrase}",
        f"content-type: {MEDIA_TYPE}",
        f"content-length: {len(body)}",
        f"x-request-id: {request_id}",
        "connection: close",
    ]
    if error.retry_after is not None:
        headers.append(f"retry-after: {max(1, round(error.retry_after))}")
    return "\r\n".join([*headers, "", ""]).encode() + body


def bounded(settings: Settings) -> type[BoundedHttpProtocol]:
    """The protocol with the limits of the settings."""
    given = ConnectionLimits(
        settings.max_header_bytes, settings.header_seconds, settings.min_body_rate, settings.max_connections
    )

    class Protocol(BoundedHttpProtocol):
        """One HTTP connection of this service."""

        limits = given

    return Protocol
