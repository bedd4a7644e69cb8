"""``POST /predict/segments``: what happens when in a long clip."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from anyio import Semaphore, create_task_group
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service import errors
from service.gateway import schemas
from service.gateway.http.field_validation import FieldReader
from service.gateway.http.openapi import describe_route
from service.gateway.operations.prediction import Options, PreparedClip, clip_limits, predict_with_retry, prepare_clip
from service.gateway.operations.pricing import charge
from service.gateway.routes.predict import (
    CLIP_FAILS,
    FAILS,
    FORMS,
    cancel_on_disconnect,
    prompt_headers,
    read_request,
    resolve,
    slowest_cache,
    timing,
)
from service.gateway.state.context import GatewayContext, context_of, json_response, run_in_predict_pool
from service.inference.interface import PredictionResult
from service.storage.records import ResolvedPrompt
from skeleton_prompt.clips.clip import Clip, InvalidClip, Segment, cut_segments
from skeleton_prompt.clips.normalise import PreparedPerson, prepare
from skeleton_prompt.model.decision import Prediction

router = APIRouter(tags=["predict"])

WINDOW_S = (0.5, 10.0, 2.0)  # least, most, default
MIN_STRIDE_S = 0.1
MAX_WINDOWS = 1024
WINDOWS_IN_FLIGHT = 16  # of one request: the rest of the queue is for others


@dataclass(frozen=True)
class Window:
    """A part of a clip; ``person`` is None where nobody was visible."""

    start: float
    end: float
    person: PreparedPerson | None


@router.post(
    "/predict/segments",
    summary="Say what happens when in a long clip",
    **describe_route(schemas.Timeline, fails=(*FAILS, *CLIP_FAILS), body=schemas.SegmentsRequest, forms=FORMS),
)
async def predict_segments(request: Request) -> Response:
    """Scope predict. One person; windows slide over the clip, neighbours that agree become one segment."""
    gateway = context_of(request)
    secret, media_type, body = await read_request(request, gateway)
    document, options, resolved = await resolve(request, gateway, secret, body, media_type)

    def prepare() -> tuple[PreparedClip, list[Window]]:
        window, stride = parse_window_options(document)
        work = prepare_clip(
            document, clip_limits(gateway.settings), check=lambda clip: window_starts(clip, window, stride)
        )
        return work, split_windows(work.clip, window, stride)

    began = time.perf_counter()
    tenant, request_id = resolved.ref.tenant, request.state.request_id
    async with gateway.requests.hold(tenant):
        work, windows = await run_in_predict_pool(prepare)
        validated = time.perf_counter()
        await charge(request, gateway, tenant, len(windows))
        found = await cancel_on_disconnect(request, predict_windows(gateway, resolved, options, windows))
    answers = [row for row in found if row is not None]
    if answers:
        request.state.timing = timing(answers, 1000 * (validated - began))
    gateway.recent.add(tenant, request_id, work.clip)
    gateway.usage.predicted(tenant, 1)
    said = {
        "tenant": tenant,
        "version": resolved.ref.version,
        "sha256": resolved.ref.sha256,
        "segments": merge_segments(windows, [row.prediction if row else None for row in found]),
        "quality": work.quality.to_dict(),
        "request_id": request_id,
    }
    return json_response(said, headers=prompt_headers(resolved, slowest_cache(answers)))


async def predict_windows(
    gateway: GatewayContext, resolved: ResolvedPrompt, options: Options, windows: Sequence[Window]
) -> list[PredictionResult | None]:
    """The results for all windows; None for a window in which nothing is visible.

    A window waits while the engine is full, until the deadline of the request. The first failure cancels the others,
    because half a timeline would mislead.

    Raises:
        ServiceError: The first failure.
    """
    found: list[PredictionResult | None] = [None] * len(windows)
    failures: list[errors.ServiceError] = []
    room = Semaphore(WINDOWS_IN_FLIGHT)
    deadline = time.monotonic() + gateway.settings.predict_deadline_seconds

    async def one(index: int, person: PreparedPerson) -> None:
        async with room:
            try:
                [found[index]] = await predict_with_retry(gateway, resolved, options, [person], deadline)
            except errors.ServiceError as error:
                failures.append(error)
                group.cancel_scope.cancel()

    async with create_task_group() as group:
        for index, window in enumerate(windows):
            if window.person is not None:
                group.start_soon(one, index, window.person)
    if failures:
        raise failures[0]
    return found


def parse_window_options(document: Mapping[str, Any]) -> tuple[float, float]:
    """Window and stride in seconds.

    Raises:
        InvalidRequest: They are out of range.
    """
    low, high, default = WINDOW_S
    fields = FieldReader(document)
    window = fields.number("window", low, high, default) or default
    stride = fields.number("stride", MIN_STRIDE_S, high, window / 2) or window / 2
    fields.check()
    return window, stride


def split_windows(clip: Clip, window: float, stride: float) -> list[Window]:
    """Windows of a clip, the last one at its end; see ``window_starts``."""
    starts = window_starts(clip, window, stride)
    return [_window(clip, start, min(start + window, clip.seconds)) for start in starts]


def window_starts(clip: Clip, window: float, stride: float) -> list[float]:
    """Where the windows of a clip begin, in seconds.

    Raises:
        InvalidClip: There are several people.
        InvalidRequest: There would be too many windows.
    """
    if clip.people > 1:
        row = {"loc": "keypoints", "rule": "several_people", "message": "a timeline is of one person at a time"}
        raise errors.InvalidClip("The clip has several people.", errors=[row])
    last = max(0.0, clip.seconds - window)
    count = int(last / stride) + 1
    if count > MAX_WINDOWS:
        row = {"loc": "stride", "rule": "too_many_windows", "message": f"{count} windows; at most {MAX_WINDOWS}"}
        raise errors.InvalidRequest("The stride is too short for this clip.", errors=[row])
    starts = [n * stride for n in range(count)]
    if last - starts[-1] > stride / 4:
        starts.append(last)
    return starts


def _window(clip: Clip, start: float, end: float) -> Window:
    [part] = cut_segments(replace(clip, segments=(Segment(None, start, end),)))
    try:
        return Window(start, end, prepare(part)[0][0])
    except InvalidClip:
        return Window(start, end, None)


def merge_segments(windows: Sequence[Window], predictions: Sequence[Prediction | None]) -> list[dict[str, Any]]:
    """Segments of one label each; where windows overlap, the border is half way.

    A single window between two that agree with each other takes their label: actions do not flicker.
    """
    labels = [row.label if row else None for row in predictions]
    for n in range(1, len(labels) - 1):
        if labels[n - 1] == labels[n + 1] is not None:
            labels[n] = labels[n - 1]
    parts: list[dict[str, Any]] = []
    first = 0
    for n in range(1, len(labels) + 1):
        if n < len(labels) and labels[n] == labels[first]:
            continue
        if labels[first] is not None:
            sure = [row.confidence for row in predictions[first:n] if row and row.label == labels[first]]
            start = windows[0].start if first == 0 else (windows[first].start + windows[first - 1].end) / 2
            end = windows[-1].end if n == len(labels) else (windows[n].start + windows[n - 1].end) / 2
            parts.append(
                {"label": labels[first], "start": start, "end": end, "confidence": sum(sure) / max(1, len(sure))}
            )
        first = n
    return parts
