"""Errors of the API: one class per status and code of docs/api.md.

::

    ServiceError
    ├── MalformedBody 400
    ├── Unauthenticated 401
    ├── Forbidden 403
    ├── NotFound 404
    │   └── VersionNotFound
    ├── MethodNotAllowed 405
    ├── RequestTimeout 408
    ├── TenantExists, NoActivePrompt, BackboneMismatch, VersionActive, IdempotencyConflict, JobFinished 409
    ├── TooLarge 413
    ├── UnsupportedMediaType 415
    ├── InvalidRequest 422
    │   └── InvalidClip, InvalidClips, TooFewLabels, UnknownLayout
    ├── RateLimited, QuotaExceeded 429
    ├── HeadersTooLarge 431
    ├── Internal 500
    ├── Overloaded, EngineUnavailable, StorageUnavailable 503
    ├── DeadlineExceeded 504
    └── StorageFull 507

``LostLease`` is internal to workers and never sent to a client.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar


class ServiceError(Exception):
    """Base class of errors that are sent as problem details (RFC 9457).

    Args:
        detail: What happened, naming the place, the value and the limit, never a secret.
        errors: Individual problems, each ``{"loc", "rule", "message"}``; at most the first 100.
        errors_total: Number of problems, if more than in ``errors``.
        retry_after: Seconds after which a retry makes sense.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"

    def __init__(
        self,
        detail: str = "",
        *,
        errors: Sequence[dict[str, str]] = (),
        errors_total: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.errors = list(errors)[:100]
        self.errors_total = len(errors) if errors_total is None else errors_total
        self.retry_after = retry_after

    def problem(self, request_id: str) -> dict[str, Any]:
        """The problem document of the API."""
        document: dict[str, Any] = {
            "type": f"urn:skeleton-prompt:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "errors": self.errors,
            "request_id": request_id,
        }
        if self.errors:
            document["errors_total"] = self.errors_total
        return document


class MalformedBody(ServiceError):
    """The body is not what its content type says."""

    status, code, title = 400, "malformed_body", "The body cannot be read"


class Unauthenticated(ServiceError):
    """The API key is missing or unknown."""

    status, code, title = 401, "unauthenticated", "A valid key is needed"


class Forbidden(ServiceError):
    """The key lacks the scope."""

    status, code, title = 403, "forbidden", "The key may not do this"


class NotFound(ServiceError):
    """The resource does not exist or belongs to another tenant; both are indistinguishable."""

    status, code, title = 404, "not_found", "Not found"


class VersionNotFound(NotFound):
    """The tenant has no such prompt version."""

    code, title = "version_not_found", "No such prompt version"


class MethodNotAllowed(ServiceError):
    """The path exists, the method does not."""

    status, code, title = 405, "method_not_allowed", "Method not allowed"


class RequestTimeout(ServiceError):
    """Headers or body arrive too slowly; answered below the application, for any route."""

    status, code, title = 408, "request_timeout", "The request arrived too slowly"


class TenantExists(ServiceError):
    """The id is taken."""

    status, code, title = 409, "tenant_exists", "The tenant exists"


class NoActivePrompt(ServiceError):
    """The tenant has no active prompt version."""

    status, code, title = 409, "no_active_prompt", "No prompt version is active"


class BackboneMismatch(ServiceError):
    """The prompt was made for another backbone."""

    status, code, title = 409, "backbone_mismatch", "The prompt is for another backbone"


class VersionActive(ServiceError):
    """The active version cannot be deleted."""

    status, code, title = 409, "version_active", "The version is active"


class IdempotencyConflict(ServiceError):
    """The same idempotency key came with another body."""

    status, code, title = 409, "idempotency_conflict", "The idempotency key was used for another request"


class JobFinished(ServiceError):
    """A finished job cannot be cancelled."""

    status, code, title = 409, "job_finished", "The job is finished"


class TooLarge(ServiceError):
    """A body or a clip past a limit."""

    status, code, title = 413, "too_large", "Too large"


class UnsupportedMediaType(ServiceError):
    """The content type or encoding is not supported."""

    status, code, title = 415, "unsupported_media_type", "Unsupported media type"


class InvalidRequest(ServiceError):
    """The request is well-formed but invalid."""

    status, code, title = 422, "invalid_request", "The request is not valid"


class InvalidClip(InvalidRequest):
    """One clip with problems."""

    code, title = "invalid_clip", "The clip is not valid"


class InvalidClips(InvalidRequest):
    """Several clips, some with problems; nothing was stored."""

    code, title = "invalid_clips", "Some clips are not valid"


class TooFewLabels(InvalidRequest):
    """Tuning needs at least two labels."""

    code, title = "too_few_labels", "Too few labels"


class UnknownLayout(InvalidRequest):
    """The layout name or the joint names are unknown."""

    code, title = "unknown_layout", "Unknown layout"


class RateLimited(ServiceError):
    """The rate limit is exceeded."""

    status, code, title = 429, "rate_limited", "Too many requests"


class QuotaExceeded(ServiceError):
    """The tenant's quota is used up."""

    status, code, title = 429, "quota_exceeded", "The quota is used up"


class HeadersTooLarge(ServiceError):
    """The request's headers exceed their limit; answered below the application, for any route."""

    status, code, title = 431, "headers_too_large", "The headers are too large"


class Internal(ServiceError):
    """Unexpected error of the service."""

    status, code, title = 500, "internal", "Internal error"


class Overloaded(ServiceError):
    """The queue is full."""

    status, code, title = 503, "overloaded", "The service is overloaded"


class EngineUnavailable(ServiceError):
    """No engine can run a forward pass at the moment."""

    status, code, title = 503, "engine_unavailable", "The engine is unavailable"


class StorageUnavailable(ServiceError):
    """The database or the blob store does not answer."""

    status, code, title = 503, "storage_unavailable", "The storage is unavailable"


class DeadlineExceeded(ServiceError):
    """The deadline passed before the result was ready."""

    status, code, title = 504, "deadline_exceeded", "The deadline passed"


class StorageFull(ServiceError):
    """The storage is full."""

    status, code, title = 507, "storage_full", "The storage is full"


class LostLease(Exception):
    """A worker's fencing token is outdated: another attempt has taken the job over. Nothing was written."""
