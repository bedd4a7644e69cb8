"""Findings about a clip: what was assumed or mended (notes) and what looks wrong (warnings)."""

from __future__ import annotations

from typing import Any


class Finding(str):
    """A sentence about a clip, with a stable code and the field that would settle the question.

    Args:
        code: Stable snake_case word.
        message: The sentence; it is the value of the string itself.
        field: Name of the clip's field that states explicitly what was assumed, or None.
    """

    code: str
    field: str | None

    __slots__ = ("code", "field")

    def __new__(cls, code: str, message: str, field: str | None = None) -> Finding:
        """Build the sentence and attach code and field."""
        finding = super().__new__(cls, message)
        finding.code = code
        finding.field = field
        return finding

    def __getnewargs__(self) -> tuple[str, str, str | None]:  # type: ignore[override]
        """Arguments of ``__new__``, for pickle and copy."""
        return self.code, str(self), self.field

    def to_dict(self) -> dict[str, Any]:
        """The finding as the API gives it."""
        return {"code": self.code, "message": str(self), "field": self.field}
