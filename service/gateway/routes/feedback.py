"""``POST /tenants/{tenant}/feedback``: a correction becomes a labelled clip for the next tuning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service import errors
from service.gateway import schemas
from service.gateway.http import request_body
from service.gateway.http.auth import Access, RequireTune
from service.gateway.http.field_validation import FieldReader
from service.gateway.http.idempotency import run_idempotent
from service.gateway.http.openapi import CREATES, describe_route
from service.gateway.http.text import text_problem
from service.gateway.operations.prediction import clip_limits, max_items, prepare_clip, read_tool_clip
from service.gateway.operations.pricing import admit
from service.gateway.operations.quotas import require_room_for_clips
from service.gateway.routes.predict import batch_row_id
from service.gateway.state.context import run_in_thread
from skeleton_prompt.clips.clip import Clip, InvalidClip, parse_clip

router = APIRouter(tags=["teach"])


@router.post(
    "/tenants/{tenant}/feedback",
    summary="Correct a prediction",
    **describe_route(
        schemas.FeedbackAnswer,
        status=201,
        fails=(
            *CREATES,
            errors.Forbidden,
            errors.NotFound,
            errors.InvalidClip,
            errors.UnknownLayout,
            errors.RateLimited,
            errors.QuotaExceeded,
        ),
        body=schemas.Feedback,
        forms=(request_body.JSON, request_body.MSGPACK),
        idempotent=True,
    ),
)
async def feedback(request: Request, access: Access = RequireTune) -> Response:
    """Scope tune. With the clip, or with the request id of a recent prediction; a null label means background."""
    settings = access.gateway.settings
    await admit(request, access.gateway, access.tenant)
    media_type = request_body.media_type_of(request, request_body.JSON, request_body.MSGPACK)
    body = await request_body.read(request, settings.max_predict_bytes, "max_predict_bytes")

    def store() -> tuple[int, dict[str, Any]]:
        document = request_body.decode(body, media_type, settings.max_json_depth, max_items=max_items(settings))
        clip = _labelled(document, access)
        require_room_for_clips(settings, access.repository, [clip])
        [stored] = access.repository.add_clips([clip], source="feedback")
        return 201, {"id": stored, "label": clip.label}

    async def make() -> tuple[int, dict[str, Any]]:
        return await run_in_thread(store)

    return await run_idempotent(request, access.repository, body, make)


def _labelled(document: Mapping[str, Any], access: Access) -> Clip:
    """The clip that is meant, with its right label.

    Raises:
        InvalidRequest: There is no label, or not exactly one of clip and request id.
        NotFound: The request is not remembered.
        InvalidClip: The clip or the label cannot be used.
    """
    fields = FieldReader(document)
    request_id = fields.text("request_id", 64)
    row = fields.integer("row", 0, access.gateway.settings.max_batch_clips - 1)
    if "label" not in document:
        fields.problem("label", "missing_label", "label is missing; null means background")
    if (document.get("clip") is None) == (document.get("request_id") is None):
        fields.problem("clip", "clip_or_request_id", "send either clip or request_id")
    fields.check()
    if request_id is None:
        return _with_label(document["clip"], document["label"], access)
    name = request_id if row is None else batch_row_id(request_id, row)
    recent = access.gateway.recent.get(access.tenant, name)
    if recent is None:
        raise errors.NotFound(
            "No clip of that request is remembered; send the clip instead, or row for a request to /predict/batch."
        )
    label = document["label"]
    if label is not None:
        if not isinstance(label, str) or not 1 <= len(label) <= 128:
            fields.problem("label", "bad_label", "label must be 1 to 128 characters, or null for background")
        elif problem := text_problem(label):
            fields.problem("label", "bad_character", f"label {problem}")
        fields.check()
    return replace(recent, label=label, background=label is None, segments=())


def _with_label(document: Any, label: Any, access: Access) -> Clip:
    limits = clip_limits(access.gateway.settings)
    if not isinstance(document, dict):
        row = {"loc": "clip", "rule": "not_an_object", "message": "a clip must be an object"}
        raise errors.InvalidClip("The clip is not an object.", errors=[row])
    document = read_tool_clip(document)
    labelled = {name: value for name, value in document.items() if name != "segments"} | {"label": label}
    prepare_clip(labelled, limits, "clip", max_windows=access.gateway.settings.max_windows)  # for its errors
    try:
        return parse_clip(labelled, limits, teaching=True)
    except InvalidClip as error:  # pragma: no cover  # the same checks have just passed
        raise errors.InvalidClip(str(error)) from None
