"""The Python client of a Skeleton-Prompt service.

    from skeleton_prompt.client import Client

    with Client("http://127.0.0.1:8000", key="...") as client:
        client.tune("acme", clips).wait(progress=True)
        print(client.predict(clip).label)

`AsyncClient` has the same methods to await. Requests that fail on the way are sent again with jittered back-off, and
carry idempotency keys where a second arrival would matter. Imports neither torch nor the server.
`errors.py` draws the tree of what they raise.
"""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import httpx
import orjson
import stamina

from skeleton_prompt import __version__
from skeleton_prompt.client import requests
from skeleton_prompt.client.errors import (
    ApiError,
    ClientError,
    ConnectionFailed,
    problem_of,
)
from skeleton_prompt.client.jobs import AsyncJob, Job
from skeleton_prompt.client.models import JobInfo, Json
from skeleton_prompt.client.requests import Request

__all__ = ["DEFAULT_URL", "AsyncClient", "Client"]

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_URL = "http://127.0.0.1:8000"
LONGEST_RETRY_AFTER_S = 30.0


def _retry_hook(call: Request[Any]) -> Callable[[Exception], bool | float]:
    """Whether, and after how long, an attempt that ended with an exception is worth another."""

    def hook(error: Exception) -> bool | float:
        if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
            return True  # it never arrived
        if isinstance(error, httpx.TransportError):
            return call.repeatable
        if isinstance(error, ApiError) and error.status in (429, 503, 504) and (call.repeatable or error.status == 429):
            # Jitter, so that a crowd told the same Retry-After does not come back as a crowd.
            after = error.retry_after
            return True if after is None else min(after, LONGEST_RETRY_AFTER_S) + random.uniform(0, 0.5)  # noqa: S311
        return False

    return hook


class _Connection:
    """What both clients share: where to, as whom, how patient."""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout: float = 60.0,
        attempts: int = 5,
        retry_seconds: float = 45.0,
    ):
        """Remember the options; nothing is sent yet.

        Args:
            url: The service; SKELETON_PROMPT_URL, else http://127.0.0.1:8000.
            key: A tenant's key or the admin key; SKELETON_PROMPT_KEY by default.
            timeout: Seconds for one attempt.
            attempts: How often one request is sent at most.
            retry_seconds: How long all attempts may take together.
        """
        key = key or os.environ.get("SKELETON_PROMPT_KEY")
        self.url = (url or os.environ.get("SKELETON_PROMPT_URL") or DEFAULT_URL).rstrip("/")
        self._attempts = attempts
        self._retry_seconds = retry_seconds
        headers = {"User-Agent": f"skeleton-prompt-client/{__version__}", "Accept": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        self._open(base_url=self.url, headers=headers, timeout=httpx.Timeout(timeout, connect=min(timeout, 10.0)))

    def _open(self, **options: Any) -> None:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @staticmethod
    def _request(call: Request[Any]) -> Json:
        return {
            "method": call.method,
            "url": call.path,
            "content": call.body,
            "params": dict(call.params),
            "headers": dict(call.headers),
        }

    @staticmethod
    def _checked(response: httpx.Response) -> httpx.Response:
        if response.is_success:
            return response
        raise problem_of(response)

    @staticmethod
    def _read(call: Request[T], response: httpx.Response) -> T:
        if call.raw:
            return call.read(response.content)
        try:
            return call.read(orjson.loads(response.content) if response.content else None)
        except (ValueError, TypeError, KeyError) as error:
            raise ClientError(f"{call.method} {call.path}: not the answer of a Skeleton-Prompt service") from error

    def _retries(self, call: Request[Any]) -> Any:
        return stamina.retry_context(
            on=_retry_hook(call), attempts=self._attempts, timeout=self._retry_seconds, wait_max=5.0
        )

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as error:
            raise ConnectionFailed(f"{self.url} does not answer ({error or type(error).__name__})") from error


class _Sends(Protocol):
    def send(self, call: Request[T]) -> T: ...


class _SendsLater(Protocol):
    async def send(self, call: Request[T]) -> T: ...


def _sync(build: Callable[P, Request[T]]) -> Callable[Concatenate[_Sends, P], T]:
    @functools.wraps(build)
    def method(self: _Sends, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.send(build(*args, **kwargs))

    return method


def _async(build: Callable[P, Request[T]]) -> Callable[Concatenate[_SendsLater, P], Coroutine[Any, Any, T]]:
    @functools.wraps(build)
    async def method(self: _SendsLater, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.send(build(*args, **kwargs))

    return method


def _job(build: Callable[Concatenate[str, P], Request[JobInfo]]) -> Callable[Concatenate[Client, str, P], Job]:
    @functools.wraps(build)
    def method(self: Client, tenant: str, /, *args: P.args, **kwargs: P.kwargs) -> Job:
        return Job(self, tenant, self.send(build(tenant, *args, **kwargs)))

    return method


def _async_job(
    build: Callable[Concatenate[str, P], Request[JobInfo]],
) -> Callable[Concatenate[AsyncClient, str, P], Coroutine[Any, Any, AsyncJob]]:
    @functools.wraps(build)
    async def method(self: AsyncClient, tenant: str, /, *args: P.args, **kwargs: P.kwargs) -> AsyncJob:
        return AsyncJob(self, tenant, await self.send(build(tenant, *args, **kwargs)))

    return method


class Client(_Connection):
    """Blocking client; safe to share among threads."""

    _http: httpx.Client

    def _open(self, **options: Any) -> None:
        self._http = httpx.Client(**options)

    def send(self, call: Request[T]) -> T:
        """Send one call, again where that helps."""
        with self._named_errors():
            for attempt in self._retries(call):
                with attempt:
                    response = self._checked(self._http.request(**self._request(call)))
        return self._read(call, response)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    predict = _sync(requests.predict)
    predict_batch = _sync(requests.predict_batch)
    check = _sync(requests.check)
    jobs = _sync(requests.jobs)
    cancel_job = _sync(requests.cancel_job)
    job_events = _sync(requests.job_events)
    prompts = _sync(requests.prompts)
    prompt = _sync(requests.prompt)
    report = _sync(requests.report)
    activate = _sync(requests.activate)
    rollback = _sync(requests.rollback)
    delete_prompt = _sync(requests.delete_prompt)
    download_prompt = _sync(requests.download_prompt)
    create_tenant = _sync(requests.create_tenant)
    tenants = _sync(requests.tenants)
    tenant = _sync(requests.tenant)
    delete_tenant = _sync(requests.delete_tenant)
    create_key = _sync(requests.create_key)
    keys = _sync(requests.keys)
    delete_key = _sync(requests.delete_key)
    add_clips = _sync(requests.add_clips)
    clips = _sync(requests.clips)
    clip = _sync(requests.clip)
    delete_clip = _sync(requests.delete_clip)
    usage = _sync(requests.usage)
    layouts = _sync(requests.layouts)
    ready = _sync(requests.ready)

    job = _job(requests.job)
    tune = _job(requests.tune)


class AsyncClient(_Connection):
    """The same for asyncio and trio: every method is awaited."""

    _http: httpx.AsyncClient

    def _open(self, **options: Any) -> None:
        self._http = httpx.AsyncClient(**options)

    async def send(self, call: Request[T]) -> T:
        """Send one call, again where that helps."""
        with self._named_errors():
            async for attempt in self._retries(call):
                with attempt:
                    response = self._checked(await self._http.request(**self._request(call)))
        return self._read(call, response)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    predict = _async(requests.predict)
    predict_batch = _async(requests.predict_batch)
    check = _async(requests.check)
    jobs = _async(requests.jobs)
    cancel_job = _async(requests.cancel_job)
    job_events = _async(requests.job_events)
    prompts = _async(requests.prompts)
    prompt = _async(requests.prompt)
    report = _async(requests.report)
    activate = _async(requests.activate)
    rollback = _async(requests.rollback)
    delete_prompt = _async(requests.delete_prompt)
    download_prompt = _async(requests.download_prompt)
    create_tenant = _async(requests.create_tenant)
    tenants = _async(requests.tenants)
    tenant = _async(requests.tenant)
    delete_tenant = _async(requests.delete_tenant)
    create_key = _async(requests.create_key)
    keys = _async(requests.keys)
    delete_key = _async(requests.delete_key)
    add_clips = _async(requests.add_clips)
    clips = _async(requests.clips)
    clip = _async(requests.clip)
    delete_clip = _async(requests.delete_clip)
    usage = _async(requests.usage)
    layouts = _async(requests.layouts)
    ready = _async(requests.ready)

    job = _async_job(requests.job)
    tune = _async_job(requests.tune)
