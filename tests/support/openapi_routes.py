"""The routes, read from the OpenAPI document and never listed by hand."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    operation: dict[str, Any]
    query: str = ""

    @property
    def keyed(self) -> bool:
        return bool(self.operation["security"])

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}{self.query}"

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
        return self.path.format_map(Filled(values)) + self.query


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


def in_all_forms(routes: list[Route]) -> Iterator[Route]:
    """The routes, and each once more with every other value of its query parameters that have a list of values."""
    for route in routes:
        yield route
        for parameter in route.operation.get("parameters", ()):
            schema = parameter["schema"]
            kinds = [schema, *schema.get("anyOf", ())]
            values = {value for kind in kinds for value in kind.get("enum", ())} - {schema.get("default")}
            if parameter["in"] == "query":
                yield from (replace(route, query=f"?{parameter['name']}={value}") for value in sorted(values))
