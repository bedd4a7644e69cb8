"""Tuning jobs: a queue in SQL, leases, fencing tokens, events and checkpoints.

A worker claims a job and gets a token one higher than any before it. Every later write names the token and is refused
once another attempt has a higher one, so a worker that was frozen and woke up can change nothing.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, insert, or_, select, update

from service.errors import JobFinished, LostLease, NotFound, StorageUnavailable
from service.storage.blobs.paths import prompt_blob
from service.storage.job_rows import job_record
from service.storage.records import JobEvent, JobKind, JobRecord, JobState, Page
from service.storage.repositories.scope import NOT_FOUND_MESSAGE, TenantScope, moment, new_id, plain_cursor
from service.storage.sql.tables import job_events, jobs, prompts, tenants
from skeleton_prompt.model.prompt_file import PromptRef

CHECKPOINT = re.compile(r"[a-z0-9_]{1,32}", re.ASCII)
FINAL = tuple(state.value for state in JobState if state.final)
ACTIVE = (JobState.RUNNING.value, JobState.PUBLISHING.value)
MAX_EVENTS = 1000


class JobRepository:
    """A tenant's jobs.

    Args:
        scope: The tenant.
        lease_s: Seconds that a lease lasts without a heartbeat.
    """

    def __init__(self, scope: TenantScope, lease_s: float) -> None:
        self._scope = scope
        self._lease_s = lease_s

    # What the gateway asks

    def create_job(self, clip_ids: Sequence[str], options: dict[str, Any]) -> JobRecord:
        """Queue a job that learns from exactly these clips.

        Raises:
            NotFound: The tenant is gone.
        """
        with self._scope.database.write() as connection:
            self._scope.require_tenant(connection)
            job_id = self.insert(connection, clip_ids, options, {"sent": self._scope.database.clock(connection)})
        return self.get_job(job_id)

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
        }
        connection.execute(insert(jobs).values(row | columns))
        self._event(connection, job_id, JobState.QUEUED, 0.0, "queued", "waiting for a worker")
        return job_id

    def get_job(self, job_id: str) -> JobRecord:
        """A job.

        Raises:
            NotFound: The tenant has no such job.
        """
        with self._scope.database.read() as connection:
            row = self._job_row(connection, job_id)
            return job_record(row, self._position(connection, row))

    def list_jobs(self, limit: int = 50, after: str | None = None) -> Page[JobRecord]:
        """Jobs, newest first."""
        query = self._scope.select(jobs).order_by(jobs.c.id.desc()).limit(limit + 1)
        cursor = plain_cursor(after)
        if cursor is not None:
            query = query.where(jobs.c.id < cursor)
        with self._scope.database.read() as connection:
            rows = connection.execute(query).all()
            found = [job_record(row, self._position(connection, row)) for row in rows[:limit]]
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
                self._change(connection, row.id, {"cancel_requested": True})
        return self.get_job(job_id)

    def job_events(self, job_id: str, after: int = 0) -> list[JobEvent]:
        """What has happened to a job since event ``after``, oldest first, at most 1,000."""
        query = self._scope.select(job_events, job_events.c.job == job_id, job_events.c.id > after)
        with self._scope.database.read() as connection:
            rows = connection.execute(query.order_by(job_events.c.id).limit(MAX_EVENTS)).all()
        return [JobEvent(r.id, moment(r.time), JobState(r.state), r.progress, r.step, r.message) for r in rows]

    # What a worker does; every write checks the token

    def claim_job(self, job_id: str, worker: str, backbone: str | None = None) -> JobRecord | None:
        """Take a job that is queued, or whose worker has lost its lease.

        Args:
            job_id: The job.
            worker: Who takes it.
            backbone: SHA-256 of what the worker runs; a job for another backbone is left to others.

        Returns:
            The job with a fresh token, or None if there is nothing to take.
        """
        with self._scope.database.write() as connection:
            row = connection.execute(self._scope.select_for_update(jobs, jobs.c.id == job_id)).first()
            if row is None:
                return None
            now = self._scope.database.clock(connection)
            expired = row.state in ACTIVE and (row.lease_until or 0) < now
            if row.state != JobState.QUEUED.value and not expired:
                return None
            if backbone is not None and row.target not in (None, backbone):
                return None
            if row.cancel_requested:
                self._finish(connection, row, JobState.CANCELLED, {})
                return None
            values = {
                "state": JobState.RUNNING.value,
                "attempt": row.attempt + 1,
                "token": row.token + 1,
                "worker": worker,
                "lease_until": now + self._lease_s,
                "started": row.started or now,
                "step": "claimed",
                "message": "a worker has taken the job" if row.attempt == 0 else "another worker goes on with the job",
            }
            self._change(connection, job_id, values)
            self._event(connection, job_id, JobState.RUNNING, row.progress, values["step"], values["message"])
            return job_record(self._job_row(connection, job_id))

    def heartbeat(self, job_id: str, token: int) -> JobRecord:
        """Renew the lease.

        Raises:
            LostLease: Another attempt has the job.
        """
        with self._scope.database.write() as connection:
            self._require_lease(connection, job_id, token)
            self._change(connection, job_id, {"lease_until": self._lease(connection)})
            return job_record(self._job_row(connection, job_id))

    def progress(
        self, job_id: str, token: int, progress: float, step: str, message: str, *, publishing: bool = False
    ) -> None:
        """Say how far the job is; renews the lease.

        Raises:
            LostLease: Another attempt has the job.
        """
        state = JobState.PUBLISHING if publishing else JobState.RUNNING
        with self._scope.database.write() as connection:
            self._require_lease(connection, job_id, token)
            where = {"state": state.value, "progress": progress, "step": step, "message": message}
            self._change(connection, job_id, where | {"lease_until": self._lease(connection)})
            self._event(connection, job_id, state, progress, step, message)

    def release(self, job_id: str, token: int) -> None:
        """Queue the job again, as a worker that is stopping does.

        Raises:
            LostLease: Another attempt has the job.
        """
        with self._scope.database.write() as connection:
            row = self._require_lease(connection, job_id, token)
            values = {"state": JobState.QUEUED.value, "lease_until": None, "sent": None, "token": token + 1}
            self._change(connection, job_id, values)
            self._event(connection, job_id, JobState.QUEUED, row.progress, "queued", "given back by its worker")

    def job_clips(self, job_id: str) -> list[str]:
        """Ids of the clips that the job learns from.

        Raises:
            NotFound: The tenant has no such job.
        """
        with self._scope.database.read() as connection:
            return list(self._job_row(connection, job_id).clips)

    def save_checkpoint(self, job_id: str, token: int, name: str, data: bytes) -> None:
        """Keep something for the next attempt.

        Raises:
            LostLease: Another attempt has the job.
        """
        path = self._checkpoint(job_id, name)
        self.require_lease(job_id, token)
        self._scope.blobs.write(path, data)
        if self.erased(job_id):
            # The tenant was erased between the check and the write: leave nothing behind.
            self._scope.blobs.delete(path)
            raise LostLease(f"job {job_id} was erased")

    def load_checkpoint(self, job_id: str, name: str) -> bytes | None:
        """What an earlier attempt kept, or None."""
        try:
            return self._scope.blobs.read(self._checkpoint(job_id, name))
        except FileNotFoundError:
            return None

    def next_version(self, job_id: str, token: int) -> int:
        """The version number that this job publishes under, the same at every attempt.

        Raises:
            LostLease: Another attempt has the job.
        """
        with self._scope.database.write() as connection:
            owner = self._scope.lock_tenant(connection)
            row = self._require_lease(connection, job_id, token)
            if row.version is not None:
                return int(row.version)
            if owner is None:
                raise NotFound(NOT_FOUND_MESSAGE)
            version = int(owner.last_version) + 1
            mine = tenants.c.id == self._scope.tenant
            connection.execute(update(tenants).where(mine).values(last_version=version))
            self._change(connection, job_id, {"version": version})
            return version

    def finish_job(
        self,
        job_id: str,
        token: int,
        state: JobState,
        *,
        error: str | None = None,
        version: int | None = None,
        activated: bool = False,
        reason: str | None = None,
        gave_way: bool = False,
    ) -> None:
        """End the job. A job that did not succeed shows no version.

        Args:
            job_id: The job.
            token: Its token.
            state: How it ended.
            error: What went wrong, for the tenant.
            version: What it published.
            activated: Whether that predicts now.
            reason: Why, or why not.
            gave_way: The job stepped back before it was tried: its version may be tuned again on this backbone.

        Raises:
            LostLease: Another attempt has the job.
        """
        with self._scope.database.write() as connection:
            owner = None if state is JobState.SUCCEEDED else self._scope.lock_tenant(connection)
            row = self._require_lease(connection, job_id, token)
            values = {"error": error, "version": version, "activated": activated, "reason": reason}
            if gave_way:
                values["target"] = None
            self._finish(connection, row, state, values)
            withdrawn = [] if owner is None else self.unpublish(connection, job_id, owner)
        self.clear(job_id, withdrawn)

    def clear(self, job_id: str, withdrawn: Sequence[PromptRef]) -> None:
        """Delete the files of a job that has ended, whether or not that works: the tenant's erasure finds the rest."""
        with contextlib.suppress(StorageUnavailable):
            for ref in withdrawn:
                self._scope.blobs.delete(prompt_blob(ref))
            self._scope.blobs.delete_below(f"tenants/{self._scope.tenant}/jobs/{job_id}")

    def unpublish(self, connection: Connection, job_id: str, owner: Any) -> list[PromptRef]:
        """Take back a version that an earlier attempt published, unless it predicts already.

        ``owner`` is the tenant's locked row: nobody can let the version predict while it is taken back.
        """
        idle = (prompts.c.job == job_id) & (prompts.c.version != (owner.active_version or 0))
        rows = connection.execute(self._scope.select_for_update(prompts, idle)).all()
        for row in rows:
            one = (prompts.c.tenant == self._scope.tenant) & (prompts.c.version == row.version)
            connection.execute(delete(prompts).where(one))
        return [PromptRef(self._scope.tenant, row.version, row.sha256) for row in rows]

    def require_lease(self, job_id: str, token: int) -> None:
        """Refuse early what a write would refuse.

        Raises:
            LostLease: Another attempt has the job.
        """
        with self._scope.database.read() as connection:
            self._require_lease(connection, job_id, token, change=False)

    def erased(self, job_id: str) -> bool:
        """Whether the job's row is gone, as after an erasure of its tenant."""
        with self._scope.database.read() as connection:
            return connection.execute(self._scope.select(jobs, jobs.c.id == job_id)).first() is None

    # Inside a transaction

    def has_lease(self, connection: Connection, job_id: str, token: int) -> Any:
        """The job's row, if the token is still the latest; for writes of other repositories in one transaction.

        Raises:
            LostLease: It is not.
        """
        return self._require_lease(connection, job_id, token)

    def cancel_internal(self, connection: Connection, row: Any, owner: Any, values: dict[str, Any]) -> list[PromptRef]:
        """Cancel a job that nobody works on; gives what it published in vain, for ``clear``.

        ``row`` and ``owner`` are the locked rows of the job and its tenant.
        """
        # With a new token, for a worker that was only frozen.
        self._finish(connection, row, JobState.CANCELLED, {"token": row.token + 1} | values)
        return self.unpublish(connection, row.id, owner)

    def _lease(self, connection: Connection) -> float:
        return self._scope.database.clock(connection) + self._lease_s

    def _require_lease(self, connection: Connection, job_id: str, token: int, *, change: bool = True) -> Any:
        query = self._scope.select_for_update if change else self._scope.select
        row = connection.execute(query(jobs, jobs.c.id == job_id)).first()
        if row is None or row.token != token or row.state not in ACTIVE:
            raise LostLease(f"job {job_id}: token {token} is outdated")
        return row

    def _job_row(self, connection: Connection, job_id: str, *, change: bool = False) -> Any:
        query = self._scope.select_for_update if change else self._scope.select
        row = connection.execute(query(jobs, jobs.c.id == job_id)).first()
        if row is None:
            raise NotFound(NOT_FOUND_MESSAGE)
        return row

    def _position(self, connection: Connection, row: Any) -> int | None:
        """How many jobs, of all tenants, are before a queued one."""
        if row.state != JobState.QUEUED.value:
            return None
        before = or_(jobs.c.created < row.created, (jobs.c.created == row.created) & (jobs.c.id < row.id))
        # What tenants ask for goes first, whenever they ask.
        asked = jobs.c.kind == JobKind.TUNE.value
        before = asked & before if row.kind == JobKind.TUNE.value else or_(asked, before)
        query = select(func.count()).select_from(jobs).where(jobs.c.state == JobState.QUEUED.value, before)
        return int(connection.execute(query).scalar_one())

    def _change(self, connection: Connection, job_id: str, values: dict[str, Any]) -> None:
        connection.execute(update(jobs).where(jobs.c.tenant == self._scope.tenant, jobs.c.id == job_id).values(values))

    def _finish(self, connection: Connection, row: Any, state: JobState, values: dict[str, Any]) -> None:
        progress = 1.0 if state is JobState.SUCCEEDED else row.progress
        message = values.get("error") or values.get("reason") or state.value
        ended = {"state": state.value, "finished": time.time(), "lease_until": None, "progress": progress}
        self._change(connection, row.id, ended | {"step": state.value, "message": message} | values)
        self._event(connection, row.id, state, progress, state.value, message)

    def _event(
        self, connection: Connection, job_id: str, state: JobState, progress: float, step: str, message: str
    ) -> None:
        row = {"tenant": self._scope.tenant, "job": job_id, "time": time.time(), "state": state.value}
        connection.execute(insert(job_events).values(row | {"progress": progress, "step": step, "message": message}))

    def _checkpoint(self, job_id: str, name: str) -> str:
        if not CHECKPOINT.fullmatch(name):
            raise ValueError(f"not a checkpoint name: {name!r}")
        return f"tenants/{self._scope.tenant}/jobs/{job_id}/{name}"
