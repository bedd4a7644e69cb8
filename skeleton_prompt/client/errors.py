"""Exceptions of the clients.

ClientError
  ConnectionFailed        nothing answered
  ApiError                the service answered with a problem: status, code, detail, errors, request_id
    Unauthenticated       401
    Forbidden             403
    NotFound              404
    Conflict              409
    TooLarge              413
    InvalidRequest        400, 405, 415, 422
    RateLimited           429
    Unavailable           503, 504, 507
  JobFailed               `wait` on a job that failed or was cancelled
  JobTimeout              `wait` took longer than allowed
"""

from __future__ import annotations

import httpx
import orjson

from skeleton_prompt.client.models import JobInfo, Json


class ClientError(RuntimeError):
    """Base class of everything that this client raises."""


class ConnectionFailed(ClientError):
    """Nothing answered, or the answer broke off."""


class ApiError(ClientError):
    """The service answered with a problem (RFC 9457).

    Attributes:
        status: The HTTP status.
        code: Stable error code.
        detail: What went wrong, for people.
        errors: Each problem with its place: `{"loc", "rule", "message"}`.
        request_id: Correlates with the server's log.
        retry_after: Seconds after which another attempt makes sense, where the server said so.
    """

    def __init__(self, status: int, problem: Json, *, request_id: str | None, retry_after: float | None):
        self.status = status
        self.code = str(problem.get("code", "unknown"))
        self.detail = str(problem.get("detail") or problem.get("title") or f"HTTP {status}")
        self.errors: list[Json] = list(problem.get("errors") or [])
        self.request_id = problem.get("request_id") or request_id
        self.retry_after = retry_after
        places = "".join(f"\n  {row.get('loc')}: {row.get('message')}" for row in self.errors[:10])
        more = f"\n  and {len(self.errors) - 10} more" if len(self.errors) > 10 else ""
        super().__init__(f"{self.detail} [{self.code}, request {self.request_id}]{places}{more}")


class Unauthenticated(ApiError):
    """No key, or one that the service does not know."""


class Forbidden(ApiError):
    """The key lacks the scope."""


class NotFound(ApiError):
    """The resource does not exist, or not for this key."""


class Conflict(ApiError):
    """The request does not fit what is there, such as no active prompt."""


class TooLarge(ApiError):
    """A limit of the service is exceeded; the detail names it."""


class InvalidRequest(ApiError):
    """The request is wrong; `errors` says where."""


class RateLimited(ApiError):
    """Too many requests."""


class Unavailable(ApiError):
    """The service cannot answer just now."""


class JobFailed(ClientError):
    """A job ended without a version."""

    def __init__(self, job: JobInfo):
        error = job.error
        why = (error.get("detail") or error.get("message") or error) if isinstance(error, dict) else error
        super().__init__(f"job {job.job} {job.state}" + (f": {why or job.reason}" if why or job.reason else ""))
        self.job = job


class JobTimeout(ClientError):
    """A job did not end in the time allowed; it goes on."""


_ERRORS: dict[int, type[ApiError]] = {
    400: InvalidRequest,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    405: InvalidRequest,
    409: Conflict,
    413: TooLarge,
    415: InvalidRequest,
    422: InvalidRequest,
    429: RateLimited,
    503: Unavailable,
    504: Unavailable,
    507: Unavailable,
}


def problem_of(response: httpx.Response) -> ApiError:
    """The exception for an answer that is not a success."""
    try:
        document = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        document = {}
    if not isinstance(document, dict):
        document = {}
    try:
        retry_after: float | None = float(response.headers.get("Retry-After", ""))
    except ValueError:  # absent, or a date, which this service never sends
        retry_after = None
    kind = _ERRORS.get(response.status_code, ApiError)
    request_id = response.headers.get("X-Request-Id")
    return kind(response.status_code, document, request_id=request_id, retry_after=retry_after)
