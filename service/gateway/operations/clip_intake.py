"""Uploaded labelled clips: every problem of every clip is found before anything is stored."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from service import errors
from service.gateway.http import request_body
from service.gateway.operations.prediction import clip_limits, require_clean_texts
from service.gateway.operations.pricing import taught_windows, window_problem
from service.gateway.operations.tool_documents import clip_of, notes_of
from service.gateway.operations.upload_findings import UploadFindings
from service.gateway.state.context import run_in_upload_pool
from service.settings import Settings
from skeleton_prompt.clips.clip import Clip, ClipTooLarge, InvalidClip, parse_clip
from skeleton_prompt.clips.normalise import prepare

MAX_ROWS = 100
MIN_LABELS = 2
TURN_S = 0.02  # of the thread that all uploads share
NOTHING_VISIBLE = "nothing_visible"


class ClipUpload:
    """Checks and collects clips to learn from.

    Args:
        settings: The limits.

    Attributes:
        clips: The valid ones.
        skipped: Those in which nothing is visible: ``{"clip", "reason"}``.
        findings: What was assumed, mended or looks wrong.
        errors: The first problems.
        errors_total: Number of problems.
        count: Number of clips seen.
        windows: Price of the valid clips, in windows times people.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limits = clip_limits(settings)
        self._too_large = False
        self.clips: list[Clip] = []
        self.skipped: list[dict[str, str]] = []
        self.findings = UploadFindings()
        self.errors: list[dict[str, str]] = []
        self.errors_total = 0
        self.count = 0
        self.windows = 0

    async def add_all(self, documents: Iterable[Any]) -> None:
        """Add decoded clips, a part at a time, in the thread that all uploads share in turns.

        Raises:
            TooLarge: There are more than ``max_tune_clips``.
        """
        waiting = iter(documents)
        while await run_in_upload_pool(self._add_some, waiting):
            pass

    async def add_lines(self, lines: Sequence[bytes]) -> None:
        """Add clips that come as lines of JSON.

        Raises:
            TooLarge: There are more than ``max_tune_clips``.
        """
        waiting = map(self._decode_line, lines)
        while await run_in_upload_pool(self._add_some, waiting):
            pass

    def _add_some(self, documents: Iterator[Any]) -> bool:
        """Add clips for about ``TURN_S``; whether there may be more."""
        until = time.monotonic() + TURN_S
        for document in documents:
            if self.count >= self._settings.max_tune_clips:
                limit = self._settings.max_tune_clips
                raise errors.TooLarge(f"More than {limit} clips (max_tune_clips); send them in several requests.")
            if isinstance(document, errors.ServiceError):
                self._problem(f"clips[{self.count}]", "malformed_line", document.detail)
                self.count += 1
            else:
                self.add(document)
            if time.monotonic() > until:
                return True
        return False

    def _decode_line(self, line: bytes) -> Any:
        """The clip of a line, or the error that stands for it."""
        try:
            return request_body.decode(line, request_body.JSON, self._settings.max_json_depth, where="The line")
        except errors.ServiceError as error:
            return error

    def add(self, document: Any) -> None:
        """Add a decoded clip."""
        place = f"clips[{self.count}]"
        self.count += 1
        try:
            document = clip_of(document, place)
            self.findings.add_labels(document)
            clip = parse_clip(document, self._limits, prefix=place, teaching=True)
            require_clean_texts(clip, place)
        except InvalidClip as error:
            self._too_large |= isinstance(error, ClipTooLarge)
            for row in error.problems:
                self._problem(row.loc, row.rule, row.message)
            self.errors_total += error.total - len(error.problems)
            return
        message = window_problem(clip, self._settings.max_windows)
        if message is not None:
            self._too_large = True
            self._problem(f"{place}.keypoints", "too_many_windows", message)
            return
        try:
            people, quality = prepare(clip)
        except InvalidClip:
            self.skipped.append({"clip": clip.id or place, "reason": NOTHING_VISIBLE})
            return
        self.windows += taught_windows(clip)
        main = max(people, key=lambda person: (person.visible > 0, person.motion))
        self.findings.add(place, clip, main, [*notes_of(document), *quality.notes], quality.warnings)
        if not self.errors_total:  # after a problem nothing will be stored
            self.clips.append(clip)
        else:
            self.clips.clear()

    def _problem(self, loc: str, rule: str, message: str) -> None:
        self.errors_total += 1
        if len(self.errors) < MAX_ROWS:
            self.errors.append({"loc": loc, "rule": rule, "message": message})

    def check(self) -> None:
        """Raise what was found.

        Raises:
            InvalidClips: Any clip has a problem.
            TooLarge: The only problems are exceeded limits.
        """
        if not self.errors_total:
            return
        detail = f"{self.errors_total} problems in {self.count} clips; nothing was stored."
        if self._too_large and self.errors_total == 1:
            raise errors.TooLarge(f"{self.errors[0]['loc']}: {self.errors[0]['message']}", errors=self.errors)
        raise errors.InvalidClips(detail, errors=self.errors, errors_total=self.errors_total)


def require_few_clips(clips: Sequence[Any], limit: int) -> None:
    """Refuse a list of too many clips before any is looked at.

    Raises:
        TooLarge: There are more than ``limit``.
    """
    if len(clips) > limit:
        message = f"{len(clips)} clips; max_tune_clips is {limit}: send them in several requests"
        row = {"loc": "clips", "rule": "too_many_clips", "message": message}
        raise errors.TooLarge(f"clips: {message}", errors=[row])


def labels_of(clips: Sequence[Clip]) -> tuple[Counter[str], int]:
    """How many examples there are of each label, and of background; a segment is an example."""
    labels: Counter[str] = Counter()
    background = 0
    for clip in clips:
        names = [segment.label for segment in clip.segments] if clip.segments else [clip.label]
        for name in names:
            if name is None:
                background += 1
            else:
                labels[name] += 1
    return labels, background


def check_labels(labels: Mapping[str, int]) -> None:
    """Refuse what cannot be told apart.

    Raises:
        TooFewLabels: There are fewer than two labels.
    """
    if len(labels) >= MIN_LABELS:
        return
    there = ", ".join(repr(label) for label in labels) or "none"
    row = {"loc": "clips", "rule": "too_few_labels", "message": f"at least 2 are needed; the labels are: {there}"}
    raise errors.TooFewLabels(f"At least {MIN_LABELS} labels are needed; there are {len(labels)}.", errors=[row])
