"""The routes, read from the OpenAPI document and never listed by hand."""

from dataclasses import dataclass
from typing import Any

METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    operation: dict[str, Any]

    @property
    def keyed(self) -> bool:
        return bool(self.operation["security"])

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def codes(self) -> dict[int, set[str]]:
        """The documented errors: codes by status."""
        answers = self.operation["responses"].items()
        return {int(status): set(answer["x-codes"]) for status, answer in answers if "x-codes" in answer}

    @property
    def successes(self) -> set[int]:
        return {int(status) for status, answer in self.operation["responses"].items() if "x-codes" not in answer}

    def address(self, **values: str) -> str:
        """The path with its parameters filled in; what is not given is something that does not exist."""
        return self.path.format_map(Filled(values))


class Filled(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return {"version": "4711"}.get(name, "absent")


def routes(document: dict[str, Any]) -> list[Route]:
    return [
        Route(method.upper(), path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if method in METHODS
    ]
