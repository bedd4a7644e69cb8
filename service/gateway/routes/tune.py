"""``POST /tenants/{tenant}/tune``: clips in, a job out.

Nothing is stored before the whole body is read and valid. A body of lines is never held as text: each line becomes
arrays as it arrives.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import structlog
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service import errors
from service.gateway import schemas
from service.gateway.http import request_body
from service.gateway.http.auth import Access, RequireTune
from service.gateway.http.field_validation import FieldReader
from service.gateway.http.idempotency import idempotency_key, run_idempotent
from service.gateway.http.openapi import CREATES, describe_route
from service.gateway.operations.base_version_clips import base_version_clips
from service.gateway.operations.clip_intake import ClipUpload, check_labels, labels_of, require_few_clips
from service.gateway.operations.prediction import MAX_REFUSAL, MAX_VERSION, max_items
from service.gateway.operations.pricing import admit, charge
from service.gateway.operations.quotas import require_free_disk, require_room_for_clips, require_room_for_prompt
from service.gateway.routes.jobs import job_document
from service.gateway.state.context import GatewayContext, json_response, run_in_thread
from service.storage.store import TenantRepository
from skeleton_prompt.clips.clip import cut_segments

log = structlog.get_logger(__name__)
router = APIRouter(tags=["teach"])

LINES_PER_HOP = 32  # lines that go to a thread together
BYTES_PER_HOP = 1 << 20
LARGE_BODY = 1 << 20
FREE_LINES = 1000  # empty lines beyond one for each clip
OPTIONS = ("activate", "dry_run", "base_version", "seed", "max_seconds", "refusal", "webhook", "include_stored")
ACTIVATE = ("if_better", "always", "never")
MAX_SEED = 2**32 - 1
FLAGS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class TuneRequest:
    """What is to be tuned, and how.

    Attributes:
        lessons: The clips that came with the request.
        stored: Learn from the stored clips instead.
        include_stored: Learn from the stored clips as well.
        dry_run: Only check.
        options: What the worker is told.
        digest: SHA-256 of the unpacked body.
    """

    upload: ClipUpload
    stored: bool = False
    include_stored: bool = False
    dry_run: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    digest: str = ""


@router.post(
    "/tenants/{tenant}/tune",
    summary="Teach a tenant from labelled clips",
    **describe_route(
        schemas.Job,
        status=202,
        other={200: {"model": schemas.DryRun, "description": "With `dry_run`: what tuning would make of the clips."}},
        fails=(
            *CREATES,
            errors.Forbidden,
            errors.NotFound,
            errors.VersionNotFound,
            errors.InvalidClips,
            errors.TooFewLabels,
            errors.RateLimited,
            errors.QuotaExceeded,
        ),
        body=schemas.TuneRequest,
        forms=(request_body.JSON, request_body.NDJSON, request_body.MSGPACK),
        idempotent=True,
    ),
)
async def tune(request: Request, access: Access = RequireTune) -> Response:
    """Scope tune. Answers 202 with the job; lines of NDJSON take the options from the query."""
    gateway = access.gateway
    idempotency_key(request)  # a bad one is refused before a large body is read
    await admit(request, gateway, access.tenant)
    async with gateway.uploads.hold(access.tenant):
        return await _tune(request, access)


async def _tune(request: Request, access: Access) -> Response:
    """``tune`` within the tenant's share of uploads."""
    gateway = access.gateway
    await run_in_thread(require_free_disk, gateway.settings)
    asked = await _read(request, gateway)
    await charge(request, gateway, access.tenant, asked.upload.windows)
    if asked.dry_run:
        return json_response(await run_in_thread(_dry_run, access.repository, asked))

    async def make() -> tuple[int, dict[str, Any]]:
        asked.upload.check()
        document = await run_in_thread(_create, access, asked)
        gateway.metrics.jobs_created.inc()
        await _enqueue(gateway, access.tenant, document["job"])
        return 202, document

    def finish(document: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        return document, {"Location": f"/tenants/{access.tenant}/jobs/{document['job']}"}

    return await run_idempotent(request, access.repository, asked.digest, make, finish=finish)


async def _read(request: Request, gateway: GatewayContext) -> TuneRequest:
    """Read the body in any of its forms.

    Raises:
        MalformedBody, TooLarge, UnsupportedMediaType, InvalidRequest: As the API says.
    """
    settings = gateway.settings
    media_type = request_body.media_type_of(request, request_body.JSON, request_body.NDJSON, request_body.MSGPACK)
    upload = ClipUpload(settings)
    if media_type == request_body.NDJSON:
        asked = _options({"options": _from_query(request)}, upload, "", settings.tune_max_seconds)
        sha = hashlib.sha256()
        lines = request_body.lines(
            request,
            settings.max_tune_bytes,
            "max_tune_bytes",
            settings.max_predict_bytes,
            2 * settings.max_tune_clips + FREE_LINES,
        )
        async for part in _line_batches(lines):
            for line in part:
                sha.update(line + b"\n")
            await upload.add_lines(part)
        return replace(asked, digest=sha.hexdigest())
    body = await request_body.read(request, settings.max_tune_bytes, "max_tune_bytes")

    def decode() -> tuple[TuneRequest, list[Any]]:
        document = request_body.decode(body, media_type, settings.max_json_depth, max_items=max_items(settings))
        asked = _options(document, upload, hashlib.sha256(body).hexdigest(), settings.tune_max_seconds)
        return asked, _clip_list(document.pop("clips", None), asked.stored, settings.max_tune_clips)

    # A large document takes twenty times its size while it is decoded: one at a time.
    async with gateway.large_body if len(body) > LARGE_BODY else contextlib.nullcontext():
        asked, clips = await run_in_thread(decode)
        await upload.add_all(clips)
        return asked


async def _line_batches(lines: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """Lines in groups: a change of thread for each would cost more than reading it."""
    part: list[bytes] = []
    size = 0
    async for line in lines:
        part.append(line)
        size += len(line)
        if len(part) >= LINES_PER_HOP or size >= BYTES_PER_HOP:
            yield part
            part, size = [], 0
    if part:
        yield part


def _clip_list(clips: Any, stored: bool, most: int) -> list[Any]:
    if clips is None and stored:
        return []
    if not isinstance(clips, list) or (not clips and not stored):
        row = {"loc": "clips", "rule": "missing_clips", "message": 'clips must be a list, or send {"stored": true}'}
        raise errors.InvalidRequest("There are no clips.", errors=[row])
    if stored and clips:
        row = {"loc": "stored", "rule": "clips_and_stored", "message": "send clips with include_stored instead"}
        raise errors.InvalidRequest("Clips and stored exclude each other.", errors=[row])
    require_few_clips(clips, most)
    return clips


def _from_query(request: Request) -> dict[str, Any]:
    """The options of an NDJSON request, typed as JSON would be."""
    options: dict[str, Any] = {}
    for name, value in request.query_params.items():
        if name in ("dry_run", "include_stored"):
            options[name] = FLAGS.get(value.lower(), value)
        elif name in ("base_version", "seed") and value.isascii() and value.isdigit() and len(value) < 20:
            options[name] = int(value)
        elif name in ("max_seconds", "refusal"):
            try:
                options[name] = float(value)
            except ValueError:
                options[name] = value
        else:
            options[name] = value
    return options


def _options(document: Mapping[str, Any], lessons: ClipUpload, digest: str, tune_max_seconds: float) -> TuneRequest:
    """Everything but the clips.

    Raises:
        InvalidRequest: An option is wrong or not known.
    """
    top = FieldReader(document)
    stored = top.flag("stored")
    include_stored = top.flag("include_stored")
    options = document.get("options")
    if options is not None and not isinstance(options, dict):
        top.problem("options", "not_an_object", "options must be an object")
    fields = FieldReader(options if isinstance(options, dict) else {}, "options.")
    fields.only(OPTIONS)
    chosen = {
        "activate": fields.choice("activate", ACTIVATE, "if_better"),
        "base_version": fields.integer("base_version", 1, MAX_VERSION),
        "seed": fields.integer("seed", 0, MAX_SEED),
        "max_seconds": fields.number("max_seconds", 1.0, tune_max_seconds),
        "refusal": fields.number("refusal", 0.0, MAX_REFUSAL),
    }
    include_stored |= fields.flag("include_stored")
    dry_run = fields.flag("dry_run")
    if options and isinstance(options, dict) and options.get("webhook") is not None:
        fields.problem("webhook", "not_served", "this release sends no webhooks; follow the job's events instead")
    top.errors += fields.errors
    top.check()
    kept = {name: value for name, value in chosen.items() if value is not None}
    return TuneRequest(lessons, stored, include_stored, dry_run, kept, digest)


def _dry_run(repository: TenantRepository, asked: TuneRequest) -> dict[str, Any]:
    """What tuning would make of the clips; blocks."""
    lessons = asked.upload
    labels, background = labels_of(lessons.clips)
    _, more_labels, more_background = _existing_clips(repository, asked)
    labels += more_labels
    background += more_background
    rows, total = list(lessons.errors), lessons.errors_total
    if not total:
        try:
            check_labels(labels)
        except errors.TooFewLabels as error:
            rows, total = error.errors, 1
    return {
        "valid": not total,
        "clips": lessons.count,
        "labels": dict(labels),
        "background": background,
        "skipped": lessons.skipped,
        "warnings": lessons.findings.warnings(labels),
        "notes": lessons.findings.notes(),
        "errors": rows,
        "errors_total": total,
    }


def _existing_clips(repository: TenantRepository, asked: TuneRequest) -> tuple[list[str], Counter[str], int]:
    """The stored clips that join those of the request: ids, examples by label, examples of background; blocks.

    Raises:
        VersionNotFound: ``base_version`` does not exist.
    """
    version = asked.options.get("base_version")
    base = base_version_clips(repository, version, asked.upload.clips) if version is not None else ([], Counter(), 0)
    return _stored_clips(repository) if asked.stored or asked.include_stored else base


def _stored_clips(repository: TenantRepository) -> tuple[list[str], Counter[str], int]:
    """The stored clips: their ids, examples by label, examples of background; blocks."""
    ids: list[str] = []
    labels: Counter[str] = Counter()
    background = 0
    after: str | None = None
    while True:
        page = repository.list_clips(200, after)
        for record in page.items:
            ids.append(record.id)
            if record.label is not None:
                labels[record.label] += 1
            elif record.background:
                background += 1
            else:  # a long recording: its labels stand in its segments
                _, clip = repository.get_clip(record.id)
                more, none = labels_of(cut_segments(clip))
                labels += more
                background += none
        after = page.next
        if after is None:
            return ids, labels, background


def _create(access: Access, asked: TuneRequest) -> dict[str, Any]:
    """Store the clips and make the job; blocks.

    Raises:
        TooFewLabels: There is nothing to tell apart.
        VersionNotFound: ``base_version`` does not exist.
        QuotaExceeded: The tenant has as many queued jobs as it may; no clip was stored.
    """
    repository, lessons = access.repository, asked.upload
    labels, _ = labels_of(lessons.clips)
    before, more_labels, _ = _existing_clips(repository, asked)
    check_labels(labels + more_labels)
    repository.check_job_quota()
    settings = access.gateway.settings
    require_room_for_prompt(settings, repository)
    require_room_for_clips(settings, repository, lessons.clips)
    options = asked.options | ({"skipped": lessons.skipped[:100]} if lessons.skipped else {})
    ids = repository.add_clips(lessons.clips, source="tune") if lessons.clips else []
    job = repository.create_job([*before, *ids], options)
    return job_document(job)


async def _enqueue(gateway: GatewayContext, tenant: str, job: str) -> None:
    """Tell a worker. Without Redis the job waits in its row until the sweeper sends it."""

    def send() -> None:
        if gateway.queue.send(tenant, job):
            gateway.storage.dispatch.mark_sent(tenant, job)

    try:
        await run_in_thread(send)
    except Exception:
        log.warning("the job's message could not be sent; the sweeper will", job=job, exc_info=True)
