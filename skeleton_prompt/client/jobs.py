"""Handles of tuning jobs: refresh, cancel, wait."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

import anyio

from skeleton_prompt.client import requests
from skeleton_prompt.client.errors import JobFailed, JobTimeout
from skeleton_prompt.client.models import JobInfo

if TYPE_CHECKING:
    from skeleton_prompt.client.client import AsyncClient, Client

Until = Literal["first", "refined"]
POLL_S = (0.2, 2.0)  # the first and the longest pause between two looks at a job


class ProgressWatcher:
    """Polls one job: polling interval, end condition and progress bar."""

    def __init__(self, timeout: float | None, progress: bool, until: Until = "refined"):
        if until not in ("first", "refined"):
            raise ValueError(f'until must be "first" or "refined", not {until!r}')
        self._until = until
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._pause = POLL_S[0]
        self._bar: Any = None
        if progress:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
            self._bar = Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True))
            self._task = self._bar.add_task("queued", total=1.0)

    def __enter__(self) -> ProgressWatcher:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar:
            self._bar.stop()

    def is_done(self, job: JobInfo) -> bool:
        """Update the progress bar; return whether the job succeeded.

        Raises:
            JobFailed: It failed or was cancelled.
            JobTimeout: It goes on, but the time allowed is over.
        """
        if self._bar:
            self._bar.update(self._task, completed=job.progress, description=job.step or job.state)
        if job.state == "succeeded" or (self._until == "first" and job.first_version is not None):
            return True
        if job.finished:
            raise JobFailed(job)
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise JobTimeout(f"job {job.job} is still {job.state}")
        return False

    def pause(self) -> float:
        """Seconds until the next poll; grows with each call."""
        self._pause = min(self._pause * 1.2, POLL_S[1])
        return self._pause


class Job:
    """A tuning job of a `Client`; `info` is its state at the last refresh."""

    def __init__(self, client: Client, tenant: str, info: JobInfo):
        self._client = client
        self.tenant = tenant
        self.info = info

    @property
    def id(self) -> str:
        """The job's id."""
        return self.info.job

    def refresh(self) -> JobInfo:
        """Fetch the job's current state."""
        self.info = self._client.send(requests.job(self.tenant, self.id))
        return self.info

    def cancel(self) -> JobInfo:
        """Request cancellation."""
        self.info = self._client.cancel_job(self.tenant, self.id)
        return self.info

    def wait(self, *, timeout: float | None = None, progress: bool = False, until: Until = "refined") -> JobInfo:
        """Wait until the job is done, or until its first version is active.

        Args:
            timeout: Seconds to wait at most.
            progress: Whether to draw a bar on stderr.
            until: `"first"` returns as soon as the first version is active (`info.first_version`); a job without one
                is waited for to its end. `"refined"` waits for the end.

        Raises:
            JobFailed: It failed or was cancelled before that.
            JobTimeout: It goes on, but the time allowed is over.
            ValueError: `until` is neither.
        """
        with ProgressWatcher(timeout, progress, until) as watch:
            while not watch.is_done(self.info):
                time.sleep(watch.pause())
                self.refresh()
        return self.info


class AsyncJob:
    """A tuning job of an `AsyncClient`."""

    def __init__(self, client: AsyncClient, tenant: str, info: JobInfo):
        self._client = client
        self.tenant = tenant
        self.info = info

    @property
    def id(self) -> str:
        """The job's id."""
        return self.info.job

    async def refresh(self) -> JobInfo:
        """Fetch the job's current state."""
        self.info = await self._client.send(requests.job(self.tenant, self.id))
        return self.info

    async def cancel(self) -> JobInfo:
        """Request cancellation."""
        self.info = await self._client.cancel_job(self.tenant, self.id)
        return self.info

    async def wait(self, *, timeout: float | None = None, progress: bool = False, until: Until = "refined") -> JobInfo:
        """Wait until the job is done, or until its first version is active; see `Job.wait`."""
        with ProgressWatcher(timeout, progress, until) as watch:
            while not watch.is_done(self.info):
                await anyio.sleep(watch.pause())
                await self.refresh()
        return self.info
