"""``POST /predict`` and ``POST /predict/batch``: the hot path.

One SQL read checks the key and finds the prompt; decoding, checks and normalisation follow, on the event loop where the
body is small and the database is SQLite, because threads that compute in Python only contend for the interpreter lock,
at twice the CPU. Then the engine predicts. The body never passes through pydantic, where validating nested lists cost
more than the forward pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson
from anyio import CancelScope, Semaphore, create_task_group
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from service import errors
from service.gateway import schemas
from service.gateway.http import openapi, request_body
from service.gateway.http.auth import principal_of, require_scope, secret_of
from service.gateway.http.openapi import BODY
from service.gateway.http.problem_details import as_service_error, problem_body
from service.gateway.operations.prediction import (
    Options,
    PreparedClip,
    clip_limits,
    max_items,
    predict_people,
    predict_with_retry,
    prediction_document,
    prepare_clip,
    read_options,
    read_tool_clip,
)
from service.gateway.operations.pricing import admit, charge
from service.gateway.state.context import (
    GatewayContext,
    context_of,
    json_response,
    run_in_predict_pool,
    run_inline_or_pool,
)
from service.inference.interface import PredictionResult
from service.storage.records import ResolvedPrompt

T = TypeVar("T")


class RawRoute(APIRoute):
    """A route whose function takes the raw request; FastAPI documents it and does not parse its parameters."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See ``APIRoute``."""
        handler: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return handler


router = APIRouter(tags=["predict"], route_class=RawRoute)

LARGE_BODY = 256 << 10  # from here on the key is checked before the body is read
LARGE_DOCUMENT = 1 << 20  # from here on one body is decoded at a time: it may take twenty times its size
ROWS_IN_FLIGHT = 32  # of one batch request: the rest of the queue is for others
FAILS = (
    *BODY,
    errors.Forbidden,
    errors.NotFound,
    errors.VersionNotFound,
    errors.NoActivePrompt,
    errors.BackboneMismatch,
    errors.RateLimited,
    errors.QuotaExceeded,
    errors.Overloaded,
    errors.EngineUnavailable,
    errors.DeadlineExceeded,
)
CLIP_FAILS = (errors.InvalidClip, errors.UnknownLayout)
FORMS = (request_body.JSON, request_body.MSGPACK)


@router.post(
    "/predict",
    summary="Recognise the action in a clip",
    **openapi.describe_route(schemas.Prediction, fails=(*FAILS, *CLIP_FAILS), body=schemas.PredictRequest, forms=FORMS),
)
async def predict(request: Request) -> Response:
    """Scope predict. The answer says what was seen, how sure it is, and what was done to the clip."""
    gateway = context_of(request)
    settings = gateway.settings
    secret, media_type, body = await read_request(request, gateway)
    began = time.perf_counter()
    caller = gateway.callers.tenant_of(secret)
    if caller is not None:  # most of a flood is turned away here, before it costs anything
        gateway.engine.check_admission(caller)

    document, options, resolved = await resolve(request, gateway, secret, body, media_type)
    tenant = resolved.ref.tenant
    async with gateway.requests.hold(tenant):
        work = await run_inline_or_pool(
            len(body), prepare_clip, document, clip_limits(settings), max_windows=settings.max_windows
        )
        await charge(request, gateway, tenant, work.windows)
        validated = time.perf_counter()
        answers = await cancel_on_disconnect(request, predict_people(gateway, resolved, options, work.people))
    request_id = request.state.request_id
    request.state.timing = timing(answers, 1000 * (validated - began))
    gateway.recent.add(tenant, request_id, work.clip)
    gateway.usage.predicted(tenant, len(answers))
    document = prediction_document(work, resolved, answers, request_id)
    return json_response(document, headers=prompt_headers(resolved, answers[0].cache))


@router.post(
    "/predict/batch",
    summary="Recognise the actions in many clips",
    **openapi.describe_route(schemas.BatchAnswer, fails=FAILS, body=schemas.BatchRequest, forms=FORMS),
)
async def predict_batch(request: Request) -> Response:
    """Scope predict. One row per clip, in order; a bad clip gives a problem in its row and never spoils the others."""
    gateway = context_of(request)
    secret, media_type, body = await read_request(request, gateway)

    document, options, resolved = await resolve(request, gateway, secret, body, media_type)
    clips = parse_batch(document, gateway.settings.max_batch_clips)
    tenant = resolved.ref.tenant
    await charge(request, gateway, tenant, len(clips))
    batch = Batch(request, gateway, resolved, options)
    rows: list[bytes] = [b""] * len(clips)
    room = Semaphore(ROWS_IN_FLIGHT)

    async def one(index: int) -> None:
        async with room:
            rows[index] = await batch.row(clips[index], index)

    async def everything() -> None:
        async with create_task_group() as group:
            for index in range(len(clips)):
                group.start_soon(one, index)

    async with gateway.requests.hold(tenant):
        await cancel_on_disconnect(request, everything())
    gateway.usage.predicted(tenant, len(batch.answers))
    if batch.answers:
        request.state.timing = timing(batch.answers, batch.validate_ms)
    content = b'{"results":[%b],"request_id":%b}' % (b",".join(rows), orjson.dumps(request.state.request_id))
    return Response(content, 200, prompt_headers(resolved, slowest_cache(batch.answers)), "application/json")


@dataclass
class Batch:
    """The rows of one batch request.

    Attributes:
        answers: Results of the engine so far, one per person.
        validate_ms: Time that checking and preparing clips took, in total.
    """

    request: Request
    gateway: GatewayContext
    resolved: ResolvedPrompt
    options: Options
    answers: list[PredictionResult] = field(default_factory=list)
    validate_ms: float = 0.0

    async def row(self, document: Mapping[str, Any], index: int) -> bytes:
        """One row: a prediction or a problem, as JSON."""
        request_id = self.request.state.request_id
        try:
            work, answers = await self._predict(document, f"clips[{index}]")
        except Exception as error:
            return problem_body(as_service_error(error), request_id)
        self.answers += answers
        self.gateway.recent.add(self.resolved.ref.tenant, batch_row_id(request_id, index), work.clip)
        return orjson.dumps(prediction_document(work, self.resolved, answers, request_id))

    async def _predict(self, document: Mapping[str, Any], prefix: str) -> tuple[PreparedClip, list[PredictionResult]]:
        began = time.perf_counter()
        settings = self.gateway.settings
        work = await run_in_predict_pool(
            prepare_clip, document, clip_limits(settings), prefix, max_windows=settings.max_windows
        )
        self.validate_ms += 1000 * (time.perf_counter() - began)
        await charge(self.request, self.gateway, self.resolved.ref.tenant, work.windows)
        return work, await predict_with_retry(self.gateway, self.resolved, self.options, work.people)


def slowest_cache(answers: Sequence[PredictionResult]) -> str:
    """The slowest layer that any prompt came from; ``memory`` where nothing was predicted."""
    layers = {answer.cache for answer in answers}
    return next((layer for layer in ("store", "redis", "memory") if layer in layers), "memory")


def batch_row_id(request_id: str, index: int) -> str:
    """The id of a row of a batch among the clips predicted recently."""
    return f"{request_id} {index}"


async def read_request(request: Request, gateway: GatewayContext) -> tuple[str, str, bytes]:
    """Key, media type and body of a predict request; nothing is decoded.

    The key is checked first where the body is large, of unknown size or compressed. A small plain body is read before
    that, because the one SQL read of the request checks the key and finds the prompt; see ``resolve``.

    Raises:
        Unauthenticated: There is no key; or it is not known, where the body is large or cannot be read.
    """
    secret = secret_of(request)
    length = request.headers.get("content-length", "")
    small = length.isdigit() and len(length) < 8 and int(length) < LARGE_BODY
    authenticated = not small or "content-encoding" in request.headers
    if authenticated:
        require_scope(await principal_of(request), "predict")
    try:
        media_type = request_body.media_type_of(request, *FORMS)
        body = await request_body.read(request, gateway.settings.max_predict_bytes, "max_predict_bytes")
    except errors.ServiceError:
        if not authenticated:
            require_scope(await principal_of(request), "predict")
        raise
    return secret, media_type, body


async def resolve(
    request: Request, gateway: GatewayContext, secret: str, body: bytes, media_type: str
) -> tuple[dict[str, Any], Options, ResolvedPrompt]:
    """Check the key and find its active prompt by one SQL read, and only then decode the body.

    A second read follows where the body names a version or a tenant.

    Raises:
        Unauthenticated, Forbidden, NotFound, VersionNotFound, NoActivePrompt: As the API says.
        RateLimited: The tenant has used its rate.
    """
    active = await _active_prompt(gateway, secret)
    if isinstance(active, ResolvedPrompt):  # a tenant that has used its rate is refused before its body costs anything
        await admit(request, gateway, active.ref.tenant)
    limits, size = gateway.settings, len(body)
    async with gateway.large_body if size > LARGE_DOCUMENT else contextlib.nullcontext():
        document = await run_inline_or_pool(
            size, request_body.decode_clip, body, media_type, limits.max_json_depth, max_items=max_items(limits)
        )
    if "keypoints" not in document and "clips" not in document:  # whose own fields could be taken for options
        document = await run_inline_or_pool(size, read_tool_clip, document)
    options = read_options(document)
    if isinstance(active, ResolvedPrompt) and options.version is None and options.tenant in (None, active.ref.tenant):
        resolved = active
    elif isinstance(active, errors.NoActivePrompt) and options.version is None and options.tenant is None:
        raise active
    else:
        resolved = await _look_up(gateway, secret, options.tenant, options.version)
    if not isinstance(active, ResolvedPrompt):
        await admit(request, gateway, resolved.ref.tenant)
    if resolved.principal.tenant is not None:
        gateway.callers.remember(secret, resolved.principal.tenant)
    return document, options, resolved


async def _active_prompt(gateway: GatewayContext, secret: str) -> ResolvedPrompt | errors.NoActivePrompt | None:
    """The active prompt of a tenant's key; None for the admin key, whose tenant stands in the body.

    Raises:
        Unauthenticated, Forbidden: The key is not known, or lacks the scope.
    """
    if gateway.storage.admin.is_admin_key(secret):
        return None
    try:
        return await _look_up(gateway, secret, None, None)
    except errors.NoActivePrompt as error:  # which does not matter if the body names a version
        return error


async def _look_up(gateway: GatewayContext, secret: str, tenant: str | None, version: int | None) -> ResolvedPrompt:
    """``resolve_prediction``, on the event loop where the database answers at once, else in a thread."""
    admin = gateway.storage.admin
    resolved = admin.resolve_prediction_nowait(secret, tenant, version)
    if resolved is None:
        resolved = await run_in_predict_pool(admin.resolve_prediction, secret, tenant, version)
    return resolved


def parse_batch(document: Mapping[str, Any], most: int) -> list[Any]:
    """The clips of a batch.

    Raises:
        InvalidRequest: There is no list of clips, or an empty one.
        TooLarge: There are too many.
    """
    clips = document.get("clips")
    if not isinstance(clips, list) or not clips:
        row = {"loc": "clips", "rule": "missing_clips", "message": "clips must be a list of at least one clip"}
        raise errors.InvalidRequest("There are no clips.", errors=[row])
    if len(clips) > most:
        row = {"loc": "clips", "rule": "too_many_clips", "message": f"{len(clips)} clips; max_batch_clips is {most}"}
        raise errors.TooLarge(f"{len(clips)} clips are more than {most} (max_batch_clips).", errors=[row])
    return clips


async def cancel_on_disconnect(request: Request, work: Awaitable[T]) -> T:
    """Await something, and cancel it when the client closes the connection.

    Raises:
        DeadlineExceeded: The client closed the connection.
    """
    with CancelScope() as scope:
        gone = asyncio.ensure_future(_wait_for_disconnect(request))
        gone.add_done_callback(lambda _: scope.cancel())
        try:
            return await work
        finally:
            gone.cancel()
    raise errors.DeadlineExceeded("The client closed the connection.")


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def prompt_headers(resolved: ResolvedPrompt, cache: str) -> dict[str, str]:
    """The headers that say which prompt answered."""
    return {
        "X-Prompt-Version": str(resolved.ref.version),
        "X-Prompt-Sha256": resolved.ref.sha256,
        "X-Prompt-Cache": cache,
    }


def timing(answers: list[PredictionResult], validate_ms: float) -> str:
    """``Server-Timing`` without the total: of the slowest person, where there are several."""
    parts = {
        "validate": validate_ms,
        "queue": max(answer.queue_ms for answer in answers),
        "prompt": max(answer.prompt_ms for answer in answers),
        "forward": max(answer.forward_ms for answer in answers),
    }
    return ", ".join(f"{name};dur={value:.2f}" for name, value in parts.items())
