"""Labelled clips as they come in: every problem of every clip is found before anything is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from service import errors
from service.gateway.http import request_body
from service.gateway.operations.tool_documents import clip_of, notes_of
from skeleton_prompt.clips.clip import Clip, ClipLimits, ClipTooLarge, InvalidClip, parse_clip
from skeleton_prompt.clips.normalise import prepare

MAX_ROWS = 100
MIN_LABELS = 2
NOTHING_VISIBLE = "nothing_visible"


class ClipUpload:
    """Gathers clips to learn from.

    Args:
        limits: How large a clip may be.
        max_depth: How deeply a line of NDJSON may be nested.

    Attributes:
        clips: The good ones.
        skipped: Those in which nothing is visible: ``{"clip", "reason"}``.
        warnings: What looks odd, by clip.
        errors: The first problems.
        errors_total: How many problems there are.
        count: How many clips were seen.
    """

    def __init__(self, limits: ClipLimits, max_depth: int) -> None:
        self._limits = limits
        self._max_depth = max_depth
        self._too_large = False
        self.clips: list[Clip] = []
        self.skipped: list[dict[str, str]] = []
        self.warnings: list[str] = []
        self.errors: list[dict[str, str]] = []
        self.errors_total = 0
        self.count = 0

    def add_lines(self, lines: Sequence[bytes]) -> None:
        """Add clips that come as lines of JSON."""
        for line in lines:
            self._add_line(line)

    def _add_line(self, line: bytes) -> None:
        try:
            document = request_body.decode(line, request_body.JSON, self._max_depth, where="The line")
        except errors.MalformedBody as error:
            self._problem(f"clips[{self.count}]", "malformed_line", error.detail)
            self.count += 1
        else:
            self.add(document)

    def add(self, document: Any) -> None:
        """Add a decoded clip."""
        place = f"clips[{self.count}]"
        self.count += 1
        try:
            document = clip_of(document, place)
            clip = parse_clip(document, self._limits, prefix=place, teaching=True)
        except InvalidClip as error:
            self._too_large |= isinstance(error, ClipTooLarge)
            for row in error.problems:
                self._problem(row.loc, row.rule, row.message)
            self.errors_total += error.total - len(error.problems)
            return
        try:
            _, quality = prepare(clip)
        except InvalidClip:
            self.skipped.append({"clip": clip.id or place, "reason": NOTHING_VISIBLE})
            return
        self.warnings += [f"{place}: {note['message']}" for note in notes_of(document)]
        self.warnings += [f"{place}: {warning}" for warning in quality.warnings]
        if not self.errors_total:  # with a problem anywhere nothing will be stored: keep the memory
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
