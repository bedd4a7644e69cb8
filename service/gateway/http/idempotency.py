"""``Idempotency-Key``: the same request again gets the first answer, and does nothing a second time."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakValueDictionary

from starlette.requests import Request
from starlette.responses import Response

from service.errors import InvalidRequest, StorageUnavailable
from service.gateway.state import context
from service.storage.records import StoredAnswer
from service.storage.store import TenantRepository

MAX_KEY = 255
WAIT_S = 10.0  # for another gateway that is doing the same request
LOOK_EVERY_S = 0.1

Document = dict[str, Any]

# Equal requests at the same moment wait for the first one: in this process for its lock, so that only one of them looks
# into the database, where those of other gateways are seen. Weak, so that a lock lives as long as somebody holds it.
_locks: WeakValueDictionary[tuple[int, str, str], asyncio.Lock] = WeakValueDictionary()


def idempotency_key(request: Request) -> str | None:
    """The client's key, if it sent one.

    Raises:
        InvalidRequest: It is not 1 to 255 printable ASCII characters.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not 1 <= len(key) <= MAX_KEY or not key.isascii() or not key.isprintable():
        raise InvalidRequest(
            "The Idempotency-Key is not usable.",
            errors=[
                {
                    "loc": "header.idempotency-key",
                    "rule": "bad_idempotency_key",
                    "message": f"1 to {MAX_KEY} printable ASCII characters are allowed",
                }
            ],
        )
    return key


def fingerprint(request: Request, body: bytes | str) -> str:
    """What two equal requests have in common: method, address, query, and body (or its hash)."""
    head = f"{request.method} {request.url.path}?{request.url.query} {request.headers.get('content-type', '')}\n"
    return hashlib.sha256(head.encode() + (body if isinstance(body, bytes) else body.encode())).hexdigest()


async def run_idempotent(
    request: Request,
    repository: TenantRepository,
    body: bytes | str,
    make: Callable[[], Awaitable[tuple[int, Document]]],
    *,
    finish: Callable[[Document], tuple[Document, dict[str, str]]] = lambda document: (document, {}),
    keep: Callable[[Document], Document] = lambda document: document,
) -> Response:
    """Do something once per idempotency key, and answer.

    Args:
        request: The request.
        repository: Where the first answer is kept, for 24 hours.
        body: The request's body, or its hash.
        make: Does it; gives status and document.
        finish: From the document, first or replayed, to what is sent, with headers.
        keep: What of the document may be kept.

    Raises:
        IdempotencyConflict: The key was used for another request.
        StorageUnavailable: Another gateway is still doing the same request.
    """
    key = idempotency_key(request)
    if key is None:
        status, document = await make()
        sent, headers = finish(document)
        return context.json_response(sent, status, headers)
    name = (id(asyncio.get_running_loop()), repository.tenant, key)
    lock = _locks.get(name) or asyncio.Lock()
    _locks[name] = lock
    mark = fingerprint(request, body)
    async with lock:
        begun = await _claim(repository, key, mark)
        if isinstance(begun, StoredAnswer):
            sent, headers = finish(begun.body)
            return context.json_response(sent, begun.status, headers | {"Idempotent-Replayed": "true"})
        try:
            status, document = await make()
        except BaseException:
            # What cannot be given back now is free again after a while.
            with contextlib.suppress(StorageUnavailable):
                await asyncio.shield(context.run_in_thread(repository.release_claim, key, begun))
            raise
        await context.run_in_thread(repository.remember, key, mark, status, keep(document), begun)
    sent, headers = finish(document)
    return context.json_response(sent, status, headers)


async def _claim(repository: TenantRepository, key: str, mark: str) -> StoredAnswer | str:
    deadline = time.monotonic() + WAIT_S
    while True:
        begun = await context.run_in_thread(repository.claim, key, mark)
        if begun is not None:
            return begun
        if time.monotonic() > deadline:
            raise StorageUnavailable("The first request with this Idempotency-Key is still being done.", retry_after=2)
        await asyncio.sleep(LOOK_EVERY_S)
