"""Responses of the service as frozen dataclasses. Standard library only.

Each keeps the answer it was made of in `to_dict`, so that a field newer than this client is not lost.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

T = TypeVar("T")
D = TypeVar("D", bound="Document")
Json = dict[str, Any]

FINISHED = frozenset({"succeeded", "failed", "cancelled"})


@dataclasses.dataclass(frozen=True)
class Document:
    """A JSON object; the named fields of the subclasses are read out of it."""

    document: Json = dataclasses.field(repr=False)

    @classmethod
    def read(cls: type[D], document: Any) -> D:
        """Take the fields that this class knows; those that the answer lacks keep their defaults."""
        if not isinstance(document, Mapping):
            raise TypeError(f"expected a JSON object for {cls.__name__}, got {type(document).__name__}")
        known = {field.name for field in dataclasses.fields(cls)} - {"document"}
        return cls(dict(document), **{name: value for name, value in document.items() if name in known})


@dataclasses.dataclass(frozen=True)
class Prediction(Document):
    """Prediction for one clip, or for one person of it."""

    label: str | None = None
    known: bool = False
    confidence: float = 0.0
    predictions: tuple[Json, ...] = ()
    reason: str | None = None
    explanation: str | None = None
    margin: float = 0.0
    familiarity: float | None = None
    limits: Json = dataclasses.field(default_factory=dict)
    set: Json | None = None
    tenant: str | None = None
    version: int | None = None
    sha256: str | None = None
    people: tuple[Prediction, ...] = ()
    quality: Json = dataclasses.field(default_factory=dict)
    request_id: str | None = None

    @classmethod
    def read(cls, document: Any) -> Prediction:
        """Also reads the people."""
        answer = super().read(document)
        people = tuple(Prediction.read(person) for person in answer.people)
        return dataclasses.replace(answer, people=people, predictions=tuple(answer.predictions))

    @property
    def probabilities(self) -> dict[str, float]:
        """The top labels with their probabilities, best first."""
        return {row["label"]: row["probability"] for row in self.predictions}


@dataclasses.dataclass(frozen=True)
class JobInfo(Document):
    """State of a tuning job at the time of the request."""

    job: str = ""
    state: str = "queued"
    progress: float = 0.0
    step: str | None = None
    message: str | None = None
    attempt: int = 0
    queue_position: int | None = None
    eta_seconds: float | None = None
    first_version: int | None = None
    version: int | None = None
    activated: bool = False
    reason: str | None = None
    error: Any = None

    @property
    def finished(self) -> bool:
        """Whether the job is in a final state."""
        return self.state in FINISHED


@dataclasses.dataclass(frozen=True)
class PromptInfo(Document):
    """One immutable prompt version."""

    version: int = 0
    sha256: str = ""
    backbone_sha256: str = ""
    labels: tuple[str, ...] = ()
    parameters: int = 0
    bytes: int = 0
    created: str = ""
    metrics: Json = dataclasses.field(default_factory=dict)
    active: bool = False


@dataclasses.dataclass(frozen=True)
class Key(Document):
    """A key of a tenant; `secret` is there only in the answer that made it, and never in a repr."""

    id: str = ""
    scopes: tuple[str, ...] = ()
    secret: str | None = dataclasses.field(default=None, repr=False)
    created: str | None = None


@dataclasses.dataclass(frozen=True)
class Tenant(Document):
    """A tenant; `key` is there only in the answer that made it."""

    id: str = ""
    name: str | None = None
    created: str = ""
    key: Key | None = None

    @classmethod
    def read(cls, document: Any) -> Tenant:
        """Also reads the key."""
        answer = super().read(document)
        return dataclasses.replace(answer, key=Key.read(answer.key)) if answer.key else answer


@dataclasses.dataclass(frozen=True)
class Page(Generic[T]):
    """Some items of a list, and the cursor for `after=` that gives the next ones."""

    items: tuple[T, ...]
    next: str | None = None

    @classmethod
    def reader(cls, item: Callable[[Any], T]) -> Callable[[Any], Page[T]]:
        """A reader of pages whose items `item` reads."""

        def read(document: Any) -> Page[T]:
            return Page(tuple(item(row) for row in document["items"]), document.get("next"))

        return read

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)
