"""One clip: from the request's document to inputs of the engine, and from its results to the response."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service import errors
from service.gateway.http import request_body
from service.gateway.http.field_validation import FieldReader
from service.gateway.http.text import text_problem
from service.gateway.operations.pricing import require_few_windows
from service.gateway.operations.tool_documents import OTHER_FORMAT, clip_of, notes_of
from service.gateway.state.context import GatewayContext
from service.inference.interface import PredictionInput, PredictionResult
from service.settings import Settings
from service.storage.records import ResolvedPrompt
from skeleton_prompt.clips.clip import Clip, ClipLimits, ClipTooLarge, InvalidClip, Problem, parse_clip
from skeleton_prompt.clips.findings import Finding
from skeleton_prompt.clips.normalise import PreparedPerson, Quality, prepare

MAX_VERSION = 2**31 - 1
QUEUE_FULL_RETRY_S = 0.1  # until a part of a larger request tries again to get into a queue that is full
OPTIONS = ("top_k", "version", "threshold", "refusal", "coverage", "tenant")
MAX_REFUSAL = 0.5
MIN_COVERAGE, MAX_COVERAGE = 0.5, 0.99


@dataclass(frozen=True)
class Options:
    """How to predict."""

    top_k: int = 5
    version: int | None = None
    threshold: float | None = None
    refusal: float | None = None
    coverage: float | None = None
    tenant: str | None = None


@dataclass(frozen=True)
class PreparedClip:
    """A clip, ready for the engine."""

    clip: Clip
    people: list[PreparedPerson]
    quality: Quality
    notes: Sequence[Finding] = ()

    @property
    def windows(self) -> int:
        """Windows over all people: the price of the clip."""
        return sum(len(person.pose) for person in self.people)

    @property
    def main(self) -> int:
        """The person with the most visible motion."""
        return max(range(len(self.people)), key=lambda index: self.people[index].motion)


def read_options(document: Mapping[str, Any]) -> Options:
    """The options of a predict request.

    Raises:
        InvalidRequest: Any of them is wrong.
    """
    fields = FieldReader(document)
    options = Options(
        top_k=fields.integer("top_k", 1, 50, 5) or 5,
        version=fields.integer("version", 1, MAX_VERSION),
        threshold=fields.number("threshold", 0.0, 1.0),
        refusal=fields.number("refusal", 0.0, MAX_REFUSAL),
        coverage=fields.number("coverage", MIN_COVERAGE, MAX_COVERAGE),
        tenant=fields.text("tenant", 63),
    )
    fields.check()
    return options


def clip_limits(settings: Settings) -> ClipLimits:
    """How large a clip may be."""
    return ClipLimits(max_frames=settings.max_frames, max_joints=settings.max_joints, max_people=settings.max_people)


def max_items(settings: Settings) -> int:
    """Most items of one array of a body: whatever limit of the service is the highest."""
    return max(
        request_body.MAX_ITEMS, settings.max_frames, settings.max_joints, settings.max_batch_clips,
        settings.max_tune_clips,
    )  # fmt: skip


def prepare_clip(
    document: Mapping[str, Any],
    limits: ClipLimits,
    prefix: str = "",
    *,
    max_windows: int | None = None,
    check: Callable[[Clip], object] | None = None,
) -> PreparedClip:
    """Check a clip and prepare it.

    Args:
        document: The clip, decoded.
        limits: Sizes allowed.
        prefix: Place of the clip in the request, such as ``clips[3]``.
        max_windows: Windows times people allowed; None for no limit.
        check: Called with the clip before it is prepared, to refuse what would cost too much.

    Raises:
        InvalidClip: As the API's error; also ``TooLarge`` and ``UnknownLayout``.
    """
    try:
        document = clip_of(document, prefix)
        clip = parse_clip(document, limits, prefix=prefix)
        require_clean_texts(clip, prefix)
        if max_windows is not None:
            require_few_windows(clip, max_windows, prefix)
        if check is not None:
            check(clip)
        people, quality = prepare(clip)
    except InvalidClip as error:
        raise clip_error(error) from None
    return PreparedClip(clip, people, quality, notes_of(document))


def read_tool_clip(document: dict[str, Any]) -> dict[str, Any]:
    """The clip in a document of a pose tool; any other document as it is.

    Raises:
        InvalidClip: As the API's error: the document is recognised and cannot be read as one clip.
    """
    try:
        clip: dict[str, Any] = clip_of(document)
    except InvalidClip as error:
        raise clip_error(error) from None
    return clip


def require_clean_texts(clip: Clip, prefix: str = "") -> None:
    """Refuse an id, label or group that a terminal or a page would not show as it is.

    Raises:
        InvalidClip: Of the model library; there is one.
    """
    texts = [("id", clip.id), ("label", clip.label), ("group", clip.group)]
    texts += [(f"segments[{n}].label", segment.label) for n, segment in enumerate(clip.segments)]
    found = [(name, text_problem(text)) for name, text in texts if text is not None]
    problems = [
        Problem(f"{prefix}.{name}" if prefix else name, "bad_character", f"{name} {problem}")
        for name, problem in found
        if problem is not None
    ]
    if problems:
        raise InvalidClip(tuple(problems))


def clip_error(error: InvalidClip) -> errors.ServiceError:
    """The API's error for what is wrong with a clip."""
    rows = [{"loc": row.loc, "rule": row.rule, "message": row.message} for row in error.problems]
    first = rows[0] if rows else {"loc": "", "message": "The clip is not valid."}
    if isinstance(error, ClipTooLarge):
        return errors.TooLarge(f"{first['loc']}: {first['message']}", errors=rows)
    if all(row["rule"] == "unknown_layout" for row in rows) and rows:
        return errors.UnknownLayout(first["message"], errors=rows)
    if rows and rows[0]["rule"] == OTHER_FORMAT:
        return errors.InvalidClip(first["message"], errors=rows)
    problems = "1 problem" if error.total == 1 else f"{error.total} problems"
    return errors.InvalidClip(f"The clip has {problems}.", errors=rows, errors_total=error.total)


async def predict_people(
    gateway: GatewayContext,
    resolved: ResolvedPrompt,
    options: Options,
    people: list[PreparedPerson],
    deadline: float | None = None,
) -> list[PredictionResult]:
    """The engine's results for all people of a clip; ``deadline`` is on the clock of ``time.monotonic``."""
    if deadline is None:
        deadline = time.monotonic() + gateway.settings.predict_deadline_seconds
    chosen = options.top_k, options.threshold, deadline, options.refusal, options.coverage
    questions = [PredictionInput(person, resolved.ref, *chosen) for person in people]
    if len(questions) == 1:
        answers = [await gateway.engine.predict(questions[0])]
    else:
        answers = await _gather_or_cancel([gateway.engine.predict(question) for question in questions])
    metrics = gateway.metrics
    for answer in answers:
        metrics.predictions.labels("true" if answer.prediction.known else "false").inc()
    metrics.prompt_cache_lookups.labels(answers[0].cache).inc()
    return answers


async def predict_with_retry(
    gateway: GatewayContext,
    resolved: ResolvedPrompt,
    options: Options,
    people: list[PreparedPerson],
    deadline: float | None = None,
) -> list[PredictionResult]:
    """``predict_people`` for a part of a larger request: waits while the engine is full.

    Raises:
        Overloaded: The engine was full until the deadline.
    """
    until = deadline if deadline is not None else time.monotonic() + gateway.settings.predict_deadline_seconds
    while True:
        try:
            return await predict_people(gateway, resolved, options, people, deadline)
        except errors.Overloaded:
            if time.monotonic() + QUEUE_FULL_RETRY_S > until:
                raise
        await asyncio.sleep(QUEUE_FULL_RETRY_S)


async def _gather_or_cancel(calls: list[Any]) -> list[PredictionResult]:
    """The results of calls, none of which is left running where one fails."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


def prediction_document(
    work: PreparedClip, resolved: ResolvedPrompt, answers: list[PredictionResult], request_id: str
) -> dict[str, Any]:
    """The API's answer for a clip."""
    people = [answer.prediction.to_dict() for answer in answers]
    quality = work.quality.to_dict()
    if work.notes:
        quality["notes"] = [*(note.to_dict() for note in work.notes), *quality["notes"]]
    return {
        "tenant": resolved.ref.tenant,
        "version": resolved.ref.version,
        "sha256": resolved.ref.sha256,
        **people[work.main],
        "people": people,
        "quality": quality,
        "request_id": request_id,
    }
