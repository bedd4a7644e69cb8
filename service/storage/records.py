"""What the repositories give: frozen records, times in UTC, nothing of the database in them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

from skeleton_prompt.model.prompt_file import PromptRef

T = TypeVar("T")
SCOPES = ("predict", "tune", "manage")


class JobState(str, Enum):
    """Where a job is; ``succeeded``, ``failed`` and ``cancelled`` are final."""

    QUEUED = "queued"
    RUNNING = "running"
    PUBLISHING = "publishing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing more will happen to the job."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class JobKind(str, Enum):
    """Why a job is: because a tenant asked, or because their version was made on a backbone that is not the newest."""

    TUNE = "tune"
    BACKBONE_UPGRADE = "new_backbone"


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a list; ``next`` is the cursor of the page behind it, None at the end."""

    items: list[T]
    next: str | None


@dataclass(frozen=True)
class Principal:
    """Who asks: the admin, or a key of a tenant with its scopes."""

    kind: str
    tenant: str | None
    scopes: frozenset[str]
    key_id: str | None = None


@dataclass(frozen=True)
class ResolvedPrompt:
    """A predict request's caller and the exact prompt that answers it."""

    principal: Principal
    ref: PromptRef
    labels: tuple[str, ...]


@dataclass(frozen=True)
class TenantRecord:
    """A tenant."""

    id: str
    name: str | None
    created: dt.datetime


@dataclass(frozen=True)
class Holdings:
    """What a tenant holds: stored clips and their bytes, prompt versions, unfinished jobs."""

    clips: int
    bytes: int
    prompts: int
    jobs: int


@dataclass(frozen=True)
class KeyRecord:
    """A tenant's key, without its secret."""

    id: str
    scopes: frozenset[str]
    created: dt.datetime


@dataclass(frozen=True)
class ClipRecord:
    """A stored clip, without its frames."""

    id: str
    client_id: str | None
    label: str | None
    background: bool
    group: str | None
    layout: str
    frames: int
    people: int
    fps: float
    bytes: int
    created: dt.datetime
    source: str


@dataclass(frozen=True)
class JobRecord:
    """A tuning job.

    Attributes:
        token: Fencing token; every attempt has a higher one, and a write with an older one is refused.
        clips: How many clips it learns from.
        version: What it published last, once it has succeeded.
        activated: Whether that was made the active version.
        queue_position: Number of jobs before it in the queue, while it is queued.
        eta_seconds: Predicted seconds to the end, while it is queued or runs.
        first_version: The quickly made first version, once it is active.
        kind: Whether a tenant asked for it.
        source: The version that it tunes again, for a new backbone.
        target: SHA-256 of that backbone.
    """

    id: str
    tenant: str
    state: JobState
    progress: float
    step: str
    message: str
    attempt: int
    token: int
    created: dt.datetime
    started: dt.datetime | None
    finished: dt.datetime | None
    error: str | None
    version: int | None
    activated: bool
    reason: str | None
    options: dict[str, Any]
    clips: int
    cancel_requested: bool
    eta_seconds: float | None = None
    queue_position: int | None = None
    kind: JobKind = JobKind.TUNE
    source: int | None = None
    target: str | None = None
    first_version: int | None = None


@dataclass(frozen=True)
class JobEvent:
    """Something that happened to a job."""

    id: int
    time: dt.datetime
    state: JobState
    progress: float
    step: str
    message: str


@dataclass(frozen=True)
class PromptRecord:
    """A published prompt version; immutable but for ``active``."""

    version: int
    sha256: str
    backbone_sha256: str
    labels: tuple[str, ...]
    parameters: int
    bytes: int
    created: dt.datetime
    metrics: Mapping[str, Any]
    job: str | None
    active: bool


@dataclass(frozen=True)
class UsageDay:
    """What a tenant used on one day (UTC); ``stored_bytes`` is what is stored at the end of it, or now."""

    day: dt.date
    predictions: int
    tuning_seconds: float
    stored_bytes: int


@dataclass(frozen=True)
class StoredAnswer:
    """The first answer to an idempotency key."""

    status: int
    body: dict[str, Any]
