"""Small strict readers for the fields of a request that are not keypoints; all problems are gathered, then raised."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from service.errors import InvalidRequest
from service.gateway.http.text import text_problem


class FieldReader:
    """Reads typed fields out of an object.

    JSON is taken at its word: true is no number, "1" is no number, 1.0 is no whole number.

    Args:
        document: The object.
        where: Prefix of the places in errors, such as ``options.``.
    """

    def __init__(self, document: Mapping[str, Any], where: str = "") -> None:
        self._document = document
        self._where = where
        self.errors: list[dict[str, str]] = []

    def problem(self, name: str, rule: str, message: str) -> None:
        """Note a problem."""
        self.errors.append({"loc": self._where + name, "rule": rule, "message": message})

    def integer(self, name: str, low: int, high: int, default: int | None = None) -> int | None:
        """A whole number from low to high."""
        value = self._document.get(name)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            self.problem(name, "not_an_integer", f"{name} must be a whole number")
        elif not low <= value <= high:
            self.problem(name, "out_of_range", f"{name} must be from {low} to {high}")
        else:
            return value
        return default

    def number(self, name: str, low: float, high: float, default: float | None = None) -> float | None:
        """A finite number from low to high."""
        value = self._document.get(name)
        if value is None:
            return default
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            self.problem(name, "not_a_number", f"{name} must be a finite number")
        elif not low <= value <= high:
            self.problem(name, "out_of_range", f"{name} must be from {low:g} to {high:g}")
        else:
            return float(value)
        return default

    def flag(self, name: str, default: bool = False) -> bool:
        """True or false."""
        value = self._document.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.problem(name, "not_a_boolean", f"{name} must be true or false")
            return default
        return value

    def text(self, name: str, most: int, *, required: bool = False) -> str | None:
        """A string of 1 to ``most`` characters."""
        value = self._document.get(name)
        if value is None:
            if required:
                self.problem(name, "missing", f"{name} is missing")
            return None
        if not isinstance(value, str):
            self.problem(name, "not_a_string", f"{name} must be a string")
        elif not 1 <= len(value) <= most or not value.isprintable() or text_problem(value):
            self.problem(
                name,
                "bad_length_or_characters",
                f"{name} must be 1 to {most} printable characters without blanks around them",
            )
        else:
            return value
        return None

    def choice(self, name: str, choices: Sequence[str], default: str) -> str:
        """One of some words."""
        value = self._document.get(name)
        if value is None:
            return default
        if not isinstance(value, str) or value not in choices:
            self.problem(name, "not_a_choice", f"{name} must be one of {', '.join(choices)}")
            return default
        return value

    def only(self, known: Sequence[str]) -> None:
        """Refuse fields of other names: a misspelt option must not silently do nothing."""
        for name in self._document:
            if name not in known:
                shown = str(name)[:64]
                self.problem(shown, "unknown_field", f"there is no {shown!r}; known are {', '.join(known)}")

    def check(self) -> None:
        """Raise what was found.

        Raises:
            InvalidRequest: Any field was wrong.
        """
        if self.errors:
            raise InvalidRequest("The request is not valid.", errors=self.errors[:100])
