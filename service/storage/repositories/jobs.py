"""Tuning jobs of one tenant, as the gateway sees them: queue, list, cancel, follow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, insert, select

from service.errors import JobFinished, QuotaExceeded
from service.storage.job_estimates import Work, clip_windows, predicted_seconds
from service.storage.records import JobEvent, JobKind, JobRecord, JobState, Page
from service.storage.repositories.job_dispatch import queue_state, read_rates
from service.storage.repositories.job_leases import ACTIVE, JobLeases, JobLimits
from service.storage.repositories.scope import moment, new_id, plain_cursor
from service.storage.sql.tables import clips, job_events, jobs

__all__ = ["ACTIVE", "JobLimits", "JobRepository"]

MAX_EVENTS = 1000
CLIPS_PER_QUERY = 500


class JobRepository(JobLeases):
    """A tenant's jobs."""

    def create_job(self, clip_ids: Sequence[str], options: dict[str, Any]) -> JobRecord:
        """Queue a job that learns from exactly these clips.

        Raises:
            NotFound: The tenant is gone.
            QuotaExceeded: The tenant has as many queued jobs as it may.
        """
        with self._scope.database.write() as connection:
            self._scope.require_tenant(connection)
            if self._limits.max_queued is not None:
                self._scope.lock_tenant(connection)  # requests that come together are counted one after the other
                self._check_quota(connection)
            job_id = self.insert(connection, clip_ids, options, {"sent": self._scope.database.clock(connection)})
        return self.get_job(job_id)

    def check_job_quota(self) -> None:
        """Check before clips are stored whether a job could be queued.

        Raises:
            QuotaExceeded: The tenant has as many queued jobs as it may.
        """
        if self._limits.max_queued is not None:
            with self._scope.database.read() as connection:
                self._check_quota(connection)

    def _check_quota(self, connection: Connection) -> None:
        most = self._limits.max_queued
        waits = (jobs.c.state == JobState.QUEUED.value) & (jobs.c.kind == JobKind.TUNE.value)
        query = select(func.count()).select_from(jobs).where(jobs.c.tenant == self._scope.tenant, waits)
        count = int(connection.execute(query).scalar_one())
        if most is not None and count >= most:
            raise QuotaExceeded(
                f"The tenant has {count} queued jobs and may have {most}. Wait for one to start, or cancel one.",
                retry_after=10.0,
            )

    def insert(
        self, connection: Connection, clip_ids: Sequence[str], options: dict[str, Any], columns: dict[str, Any]
    ) -> str:
        """Queue a job inside a transaction; gives its id."""
        job_id = new_id()
        row = {
            "tenant": self._scope.tenant,
            "id": job_id,
            "state": JobState.QUEUED.value,
            "progress": 0.0,
            "step": "queued",
            "message": "waiting for a worker",
            "attempt": 0,
            "token": 0,
            "created": self._scope.database.clock(connection),
            "activated": False,
            "options": options,
            "clips": list(clip_ids),
            "cancel_requested": False,
            "estimate": self._estimate(connection, clip_ids, options, columns),
        }
        connection.execute(insert(jobs).values(row | columns))
        self._event(connection, job_id, JobState.QUEUED, 0.0, "queued", "waiting for a worker")
        return job_id

    def _estimate(
        self, connection: Connection, clip_ids: Sequence[str], options: Mapping[str, Any], columns: Mapping[str, Any]
    ) -> float:
        """Predicted seconds of work of a job that learns from these clips."""
        windows = 0
        for start in range(0, len(clip_ids), CLIPS_PER_QUERY):
            some = clips.c.id.in_(clip_ids[start : start + CLIPS_PER_QUERY])
            query = select(clips.c.frames, clips.c.fps).where(clips.c.tenant == self._scope.tenant, some)
            windows += sum(clip_windows(row.frames, row.fps) for row in connection.execute(query))
        refines = self._limits.refines and "kind" not in columns
        parts = predicted_seconds(Work(len(clip_ids), windows), read_rates(connection), refines=refines)
        return min(sum(parts.values()), float(options.get("max_seconds") or math.inf))

    def get_job(self, job_id: str) -> JobRecord:
        """A job.

        Raises:
            NotFound: The tenant has no such job.
        """
        with self._scope.database.read() as connection:
            return self._record(connection, self._job_row(connection, job_id))

    def list_jobs(self, limit: int = 50, after: str | None = None) -> Page[JobRecord]:
        """Jobs, newest first."""
        query = self._scope.select(jobs).order_by(jobs.c.id.desc()).limit(limit + 1)
        cursor = plain_cursor(after)
        if cursor is not None:
            query = query.where(jobs.c.id < cursor)
        with self._scope.database.read() as connection:
            rows = connection.execute(query).all()
            waits = any(row.state == JobState.QUEUED.value for row in rows[:limit])
            state = queue_state(self._scope.database, connection) if waits else None
            found = [self._record(connection, row, state) for row in rows[:limit]]
        return Page(found, rows[limit - 1].id if len(rows) > limit else None)

    def cancel_job(self, job_id: str) -> JobRecord:
        """Cancel: at once while it is queued, else at its worker's next step. Twice is as once.

        Raises:
            NotFound: The tenant has no such job.
            JobFinished: It has succeeded or failed.
        """
        with self._scope.database.write() as connection:
            row = self._job_row(connection, job_id, change=True)
            if row.state in (JobState.SUCCEEDED.value, JobState.FAILED.value):
                raise JobFinished(f"The job has {row.state}.")
            if row.state == JobState.QUEUED.value:
                self._finish(connection, row, JobState.CANCELLED, {"cancel_requested": True})
            elif row.state == JobState.RUNNING.value:  # while publishing it is too late, the job completes
                self._change(connection, row, {"cancel_requested": True})
        return self.get_job(job_id)

    def job_events(self, job_id: str, after: int = 0) -> list[JobEvent]:
        """What has happened to a job since event ``after``, oldest first, at most 1,000."""
        query = self._scope.select(job_events, job_events.c.job == job_id, job_events.c.id > after)
        with self._scope.database.read() as connection:
            rows = connection.execute(query.order_by(job_events.c.id).limit(MAX_EVENTS)).all()
        return [JobEvent(r.id, moment(r.time), JobState(r.state), r.progress, r.step, r.message) for r in rows]

    def job_clips(self, job_id: str) -> list[str]:
        """Ids of the clips that the job learns from.

        Raises:
            NotFound: The tenant has no such job.
        """
        with self._scope.database.read() as connection:
            return list(self._job_row(connection, job_id).clips)
