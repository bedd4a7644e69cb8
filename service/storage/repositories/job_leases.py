"""Leases of tuning jobs: claim, renew, publish under a reserved number, end; each write checks the fencing token.

A worker claims a job and gets a token one higher than any before it. Every later write names the token and is refused
once another attempt has a higher one, so a worker that was suspended and resumed can change nothing.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, update

from service.errors import LostLease, NotFound, StorageUnavailable
from service.storage.blobs.paths import prompt_blob
from service.storage.job_rows import job_record
from service.storage.job_states import transition
from service.storage.records import JobRecord, JobState
from service.storage.repositories.job_dispatch import queue_state
from service.storage.repositories.job_order import DEFAULT_SECONDS, QueueState
from service.storage.repositories.scope import NOT_FOUND_MESSAGE, TenantScope
from service.storage.sql.tables import job_events, jobs, prompts, tenants
from skeleton_prompt.model.prompt_file import PromptRef

CHECKPOINT = re.compile(r"[a-z0-9_]{1,32}", re.ASCII)
ACTIVE = (JobState.RUNNING.value, JobState.PUBLISHING.value)


@dataclass(frozen=True)
class JobLimits:
    """What jobs may take.

    Attributes:
        lease_s: Seconds that a lease lasts without a heartbeat.
        max_queued: Maximum number of queued jobs of a tenant, None for any number.
        refines: Whether jobs publish a first version before the refined one, for estimates.
    """

    lease_s: float = 10.0
    max_queued: int | None = None
    refines: bool = False


class JobLeases:
    """What workers do with a tenant's jobs.

    Args:
        scope: The tenant.
        limits: What jobs may take.
    """

    def __init__(self, scope: TenantScope, limits: JobLimits) -> None:
        self._scope = scope
        self._limits = limits

    def claim_job(
        self, job_id: str, worker: str, backbone: str | None = None, *, limit_s: float | None = None
    ) -> JobRecord | None:
        """Take a job that is queued, or whose worker has lost its lease.

        Args:
            job_id: The job.
            worker: Name of the worker.
            backbone: SHA-256 of what the worker runs; a job for another backbone is left to others.
            limit_s: Seconds after which the attempt is ended from outside, None for no limit.

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
                "lease_until": now + self._limits.lease_s,
                "deadline": None if limit_s is None else now + limit_s,
                "expected_end": now + (row.estimate or DEFAULT_SECONDS) * (1 - row.progress),
                "started": row.started or now,
                "step": "claimed",
                "message": "a worker has taken the job" if row.attempt == 0 else "another worker goes on with the job",
            }
            self._change(connection, row, values)
            self._event(connection, job_id, JobState.RUNNING, row.progress, values["step"], values["message"])
            return self._record(connection, self._job_row(connection, job_id))

    def heartbeat(self, job_id: str, token: int) -> JobRecord:
        """Renew the lease.

        Raises:
            LostLease: Another attempt has the job.
        """
        with self._scope.database.write() as connection:
            row = self._require_lease(connection, job_id, token)
            self._change(connection, row, {"lease_until": self._lease(connection)})
            return self._record(connection, self._job_row(connection, job_id))

    def progress(
        self,
        job_id: str,
        token: int,
        progress: float,
        step: str,
        message: str,
        *,
        publishing: bool = False,
        remaining_s: float | None = None,
    ) -> None:
        """Record how far the job is, and renew the lease. The recorded share never decreases.

        Args:
            job_id: The job.
            token: Its token.
            progress: Share done, 0 to 1.
            step: Name of the step.
            message: For the tenant.
            publishing: Whether a cancellation would come too late.
            remaining_s: Predicted seconds to the end; None keeps the prediction that there is.

        Raises:
            LostLease: Another attempt has the job.
        """
        state = JobState.PUBLISHING if publishing else JobState.RUNNING
        with self._scope.database.write() as connection:
            row = self._require_lease(connection, job_id, token)
            progress = max(row.progress, progress)
            values = {"state": state.value, "progress": progress, "step": step, "message": message}
            if remaining_s is not None:
                values["expected_end"] = self._scope.database.clock(connection) + remaining_s
            self._change(connection, row, values | {"lease_until": self._lease(connection)})
            self._event(connection, job_id, state, progress, step, message)

    def release(self, job_id: str, token: int) -> None:
        """Queue the job again, as a worker that is stopping does.

        Raises:
            LostLease: Another attempt has the job.
        """
        with self._scope.database.write() as connection:
            row = self._require_lease(connection, job_id, token)
            values = {"state": JobState.QUEUED.value, "lease_until": None, "sent": None, "token": token + 1}
            self._change(connection, row, values)
            self._event(connection, job_id, JobState.QUEUED, row.progress, "queued", "given back by its worker")

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

    def next_version(self, job_id: str, token: int, *, first: bool = False) -> int:
        """Reserve a version number for the job; the same at every attempt.

        Args:
            job_id: The job.
            token: Its token.
            first: The number of the first version instead of the refined one.

        Raises:
            LostLease: Another attempt has the job.
        """
        with self._scope.database.write() as connection:
            owner = self._scope.lock_tenant(connection)
            row = self._require_lease(connection, job_id, token)
            column = "first_number" if first else "version"
            reserved = getattr(row, column)
            if reserved is not None:
                return int(reserved)
            if owner is None:
                raise NotFound(NOT_FOUND_MESSAGE)
            version = int(owner.last_version) + 1
            mine = tenants.c.id == self._scope.tenant
            connection.execute(update(tenants).where(mine).values(last_version=version))
            self._change(connection, row, {column: version})
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
            withdrawn = [] if owner is None else self.unpublish(connection, job_id, owner, row.first_version)
        self.clear(job_id, withdrawn)

    def end_overdue(self, job_id: str) -> JobState | None:
        """End a running job whose attempt outlived its deadline; its worker can write nothing any more.

        With an active first version the job succeeds with that version, otherwise it fails.

        Returns:
            How it ended, or None if it is not running or its deadline has not passed.
        """
        with self._scope.database.write() as connection:
            owner = self._scope.lock_tenant(connection)
            row = connection.execute(self._scope.select_for_update(jobs, jobs.c.id == job_id)).first()
            if owner is None or row is None or row.state not in ACTIVE or row.deadline is None:
                return None
            if row.deadline >= self._scope.database.clock(connection):
                return None
            state, values = over_time(row.first_version)
            self._finish(connection, row, state, values | {"token": row.token + 1})
            withdrawn = self.unpublish(connection, job_id, owner, keep=row.first_version)
        self.clear(job_id, withdrawn)
        return state

    def clear(self, job_id: str, withdrawn: Sequence[PromptRef]) -> None:
        """Delete the files of a job that has ended, whether or not that works: the tenant's erasure finds the rest."""
        with contextlib.suppress(StorageUnavailable):
            for ref in withdrawn:
                self._scope.blobs.delete(prompt_blob(ref))
            self._scope.blobs.delete_below(f"tenants/{self._scope.tenant}/jobs/{job_id}")

    def unpublish(self, connection: Connection, job_id: str, owner: Any, keep: int | None = None) -> list[PromptRef]:
        """Delete versions that the job published, except the active one and the first version once it was active.

        Args:
            connection: The transaction.
            job_id: The job.
            owner: The tenant's locked row, so that no version can become active meanwhile.
            keep: The first version, if it was activated.
        """
        idle = (prompts.c.job == job_id) & prompts.c.version.not_in((owner.active_version or 0, keep or 0))
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

    def record_first(self, connection: Connection, row: Any, version: int) -> None:
        """Record that the job's first version is active; once."""
        if row.first_version is None:
            self._change(connection, row, {"first_version": version})
            message = f"version {version} is active; its refinement follows"
            self._event(connection, row.id, JobState.RUNNING, row.progress, "activated", message)

    def cancel_internal(self, connection: Connection, row: Any, owner: Any, values: dict[str, Any]) -> list[PromptRef]:
        """Cancel a job that nobody works on; gives what it published in vain, for ``clear``.

        ``row`` and ``owner`` are the locked rows of the job and its tenant.
        """
        # With a new token, for a worker that was only frozen.
        self._finish(connection, row, JobState.CANCELLED, {"token": row.token + 1} | values)
        return self.unpublish(connection, row.id, owner, row.first_version)

    def _lease(self, connection: Connection) -> float:
        return self._scope.database.clock(connection) + self._limits.lease_s

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

    def _record(self, connection: Connection, row: Any, state: QueueState | None = None) -> JobRecord:
        """A row as a record, with the place in the common queue of a job that waits."""
        now = self._scope.database.clock(connection)
        if row.state != JobState.QUEUED.value:
            return job_record(row, now)
        position, eta = (state or queue_state(self._scope.database, connection)).place(row.tenant, row.id)
        return job_record(row, now, position, eta)

    def _change(self, connection: Connection, row: Any, values: dict[str, Any]) -> None:
        """Update the row of a job; a change of its state must be a legal transition."""
        if "state" in values:
            transition(JobState(row.state), JobState(values["state"]))
        connection.execute(update(jobs).where(jobs.c.tenant == self._scope.tenant, jobs.c.id == row.id).values(values))

    def _finish(self, connection: Connection, row: Any, state: JobState, values: dict[str, Any]) -> None:
        progress = 1.0 if state is JobState.SUCCEEDED else row.progress
        message = values.get("error") or values.get("reason") or state.value
        now = self._scope.database.clock(connection)
        ended = {"state": state.value, "finished": now, "lease_until": None, "progress": progress}
        self._change(connection, row, ended | {"step": state.value, "message": message} | values)
        self._event(connection, row.id, state, progress, state.value, message)

    def _event(
        self, connection: Connection, job_id: str, state: JobState, progress: float, step: str, message: str
    ) -> None:
        now = self._scope.database.clock(connection)
        row = {"tenant": self._scope.tenant, "job": job_id, "time": now, "state": state.value}
        connection.execute(insert(job_events).values(row | {"progress": progress, "step": step, "message": message}))

    def _checkpoint(self, job_id: str, name: str) -> str:
        if not CHECKPOINT.fullmatch(name):
            raise ValueError(f"not a checkpoint name: {name!r}")
        return f"tenants/{self._scope.tenant}/jobs/{job_id}/{name}"


def over_time(first_version: int | None) -> tuple[JobState, dict[str, Any]]:
    """State and columns of a job that ended at its time limit."""
    if first_version is None:
        error = "time_limit: the tuning took longer than its limit (max_seconds) and was ended from outside"
        return JobState.FAILED, {"error": error, "version": None, "activated": False}
    reason = f"the refinement reached the time limit (max_seconds); version {first_version} stays"
    return JobState.SUCCEEDED, {"version": first_version, "activated": True, "reason": reason}
