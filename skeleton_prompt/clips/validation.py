"""What can be wrong with a clip, and how much of one is allowed."""

from __future__ import annotations

import math
from dataclasses import dataclass

MAX_PROBLEMS = 100
MAX_VALUE = 1e9  # far beyond any unit's picture or room, and its square still fits in float32


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where, which rule (a stable snake_case word), and a sentence with value and limit."""

    loc: str
    rule: str
    message: str


class InvalidClip(ValueError):
    """A clip cannot be used; ``problems`` are the first 100 of ``total``."""

    def __init__(self, problems: tuple[Problem, ...], total: int | None = None) -> None:
        self.problems = problems[:MAX_PROBLEMS]
        self.total = len(problems) if total is None else total
        first = self.problems[0] if self.problems else Problem("", "invalid", "invalid clip")
        more = f" (and {self.total - 1} more)" if self.total > 1 else ""
        super().__init__(f"{first.loc}: {first.message}{more}")


class ClipTooLarge(InvalidClip):
    """A limit on the size of a clip is exceeded; the message names the limit."""


@dataclass(frozen=True)
class ClipLimits:
    """How large a clip may be; each is a setting of the same name."""

    min_frames: int = 2
    max_frames: int = 2048
    max_joints: int = 256
    max_people: int = 16


class ProblemCollector:
    """Collects problems: keeps the first 100, counts all, and puts the clip's place before each."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix if not prefix or prefix.endswith(".") else prefix + "."
        self.problems: list[Problem] = []
        self.total = 0

    def add(self, loc: str, rule: str, message: str) -> None:
        """Note one problem."""
        self.total += 1
        if len(self.problems) < MAX_PROBLEMS:
            place = (self._prefix + loc) if loc else self._prefix.rstrip(".")
            self.problems.append(Problem(place, rule, message))

    def too_large(self, loc: str, rule: str, message: str) -> ClipTooLarge:
        """The exception for an exceeded limit; nothing else of such a clip is looked at."""
        return ClipTooLarge((Problem(self._prefix + loc, rule, message),))

    def stop_if_any(self) -> None:
        """Raise what was found.

        Raises:
            InvalidClip: there is at least one problem.
        """
        if self.total:
            raise InvalidClip(tuple(self.problems), self.total)


def preview(value: object) -> str:
    """A value in a message, cut short and safe to encode."""
    text = repr(value)[:60] if isinstance(value, (str, int, float, bool)) or value is None else type(value).__name__
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def number(value: object) -> float | None:
    """A finite JSON number as float, None for anything else (also true, "1.5" and whole numbers beyond float)."""
    if type(value) not in (int, float):
        return None
    try:
        result = float(value)  # type: ignore[arg-type]
    except OverflowError:
        return None
    return result if math.isfinite(result) else None
