"""The Python client: ``Client`` and ``AsyncClient``. Imports neither torch nor the server."""

from skeleton_prompt.client.client import DEFAULT_URL as DEFAULT_URL
from skeleton_prompt.client.client import AsyncClient, Client
from skeleton_prompt.client.errors import (
    ApiError,
    ClientError,
    Conflict,
    ConnectionFailed,
    Forbidden,
    InvalidRequest,
    JobFailed,
    JobTimeout,
    NotFound,
    RateLimited,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from skeleton_prompt.client.jobs import AsyncJob, Job
from skeleton_prompt.client.models import JobInfo, Key, Page, Prediction, PromptInfo, Tenant

__all__ = [
    "ApiError",
    "AsyncClient",
    "AsyncJob",
    "Client",
    "ClientError",
    "Conflict",
    "ConnectionFailed",
    "Forbidden",
    "InvalidRequest",
    "Job",
    "JobFailed",
    "JobInfo",
    "JobTimeout",
    "Key",
    "NotFound",
    "Page",
    "Prediction",
    "PromptInfo",
    "RateLimited",
    "Tenant",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
]
