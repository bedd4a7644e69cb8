"""The queue of all jobs, across tenants: what to send, which job is next, which has outlived its deadline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, case, func, or_, select, update
from sqlalchemy.sql.elements import ColumnElement

from service.storage.job_estimates import averaged
from service.storage.records import JobKind, JobState
from service.storage.repositories.job_order import DEFAULT_SECONDS, QueuedJob, QueueState, fair_order
from service.storage.sql.database import Database
from service.storage.sql.tables import job_rates, jobs

QUEUED = JobState.QUEUED.value
HELD = (JobState.RUNNING.value, JobState.PUBLISHING.value)
RESENT_S = 5.0  # an orphaned job is not sent again sooner
MAX_NEXT = 20


class JobDispatchRepository:
    """Jobs of all tenants, for gateways and workers.

    Args:
        database: Where the rows are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def unsent_jobs(self, resend_after_s: float, limit: int = 100) -> list[tuple[str, str, JobKind]]:
        """(tenant, job, kind) of queued jobs whose message was never sent, or so long ago that it may be lost."""
        # The longer a job waits, the longer its message may take: a long queue must not fill with copies.
        patience = case((jobs.c.sent - jobs.c.created > 120, 60.0), else_=resend_after_s)
        with self._database.read() as connection:
            late = or_(jobs.c.sent.is_(None), jobs.c.sent + patience < self._database.clock(connection))
            return _to_send(connection, limit, jobs.c.state == QUEUED, late)

    def orphaned_jobs(self, limit: int = 100) -> list[tuple[str, str, JobKind]]:
        """(tenant, job, kind) of running jobs whose worker has lost its lease, not sent again since."""
        with self._database.read() as connection:
            now = self._database.clock(connection)
            unsent = or_(jobs.c.sent.is_(None), jobs.c.sent < jobs.c.lease_until, jobs.c.sent < now - RESENT_S)
            return _to_send(connection, limit, jobs.c.state.in_(HELD), jobs.c.lease_until < now, unsent)

    def overdue_jobs(self, limit: int = 100) -> list[tuple[str, str]]:
        """(tenant, job) of running jobs whose worker renewed the lease beyond the attempt's deadline.

        A worker that died or hangs before its deadline stops renewing: its job is orphaned and gets another attempt.
        """
        with self._database.read() as connection:
            over = (jobs.c.deadline < self._database.clock(connection)) & (jobs.c.lease_until > jobs.c.deadline)
            query = select(jobs.c.tenant, jobs.c.id).where(jobs.c.state.in_(HELD), over).limit(limit)
            return [(row.tenant, row.id) for row in connection.execute(query)]

    def mark_sent(self, tenant: str, job_id: str) -> None:
        """Record that a job's message has just been sent."""
        with self._database.write() as connection:
            mine = (jobs.c.tenant == tenant) & (jobs.c.id == job_id)
            connection.execute(update(jobs).where(mine).values(sent=self._database.clock(connection)))

    def unfinished_jobs(self) -> dict[str, int]:
        """Number of jobs in each state that is not final."""
        states = [state.value for state in JobState if not state.final]
        query = select(jobs.c.state, func.count()).where(jobs.c.state.in_(states)).group_by(jobs.c.state)
        with self._database.read() as connection:
            return dict.fromkeys(states, 0) | {str(state): int(count) for state, count in connection.execute(query)}

    def queue_length(self) -> int:
        """Number of queued jobs."""
        query = select(func.count()).select_from(jobs).where(jobs.c.state == QUEUED)
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def next_jobs(self, backbone: str | None = None) -> list[tuple[str, str]]:
        """(tenant, job) of the jobs to try next: those whose worker is lost, then queued ones in fair order.

        Args:
            backbone: SHA-256 of what the worker runs; jobs for other backbones are left out. None keeps all.
        """
        with self._database.read() as connection:
            lost = (jobs.c.state.in_(HELD)) & (jobs.c.lease_until < self._database.clock(connection))
            query = select(jobs.c.tenant, jobs.c.id, jobs.c.target).where(lost).order_by(jobs.c.created)
            first = [(row.tenant, row.id) for row in connection.execute(query) if _runs_on(row.target, backbone)]
            order = queue_state(self._database, connection).order
        return (first + [(job.tenant, job.id) for job in order if _runs_on(job.target, backbone)])[:MAX_NEXT]

    def rates(self) -> dict[str, float]:
        """Measured seconds per work unit by phase; see ``service.storage.job_estimates``."""
        with self._database.read() as connection:
            return read_rates(connection)

    def observe_rates(self, measured: Mapping[str, float]) -> None:
        """Update the moving average of every phase with seconds per work unit of a job that just ran."""
        with self._database.write() as connection:
            before = read_rates(connection)
            for phase, rate in measured.items():
                if rate <= 0:
                    continue
                value = averaged(before.get(phase), rate)
                row = self._database.upsert(job_rates).values(phase=phase, seconds_per_unit=value)
                connection.execute(
                    row.on_conflict_do_update(index_elements=["phase"], set_={"seconds_per_unit": value})
                )


def read_rates(connection: Connection) -> dict[str, float]:
    """The stored rates, inside a transaction."""
    return {row.phase: row.seconds_per_unit for row in connection.execute(select(job_rates))}


def queue_state(database: Database, connection: Connection) -> QueueState:
    """The common queue, inside a transaction: order of the queued jobs and remaining seconds of the running ones."""
    waiting = connection.execute(
        select(jobs.c.tenant, jobs.c.id, jobs.c.kind, jobs.c.created, jobs.c.estimate, jobs.c.target).where(
            jobs.c.state == QUEUED
        )
    ).all()
    tenants = {row.tenant for row in waiting}
    started: dict[str, float] = {}
    if tenants:
        asked = select(jobs.c.tenant, func.max(jobs.c.started)).group_by(jobs.c.tenant)
        waits = select(jobs.c.tenant).where(jobs.c.state == QUEUED)
        found = connection.execute(asked.where(jobs.c.tenant.in_(waits)))
        started = {tenant: float(when) for tenant, when in found if when is not None}
    queued = [
        QueuedJob(row.tenant, row.id, JobKind(row.kind), row.created, row.estimate, row.target) for row in waiting
    ]
    now = database.clock(connection)
    held = connection.execute(select(jobs.c.expected_end, jobs.c.estimate).where(jobs.c.state.in_(HELD)))
    running = tuple(
        max(1.0, row.expected_end - now) if row.expected_end else row.estimate or DEFAULT_SECONDS for row in held
    )
    return QueueState(tuple(fair_order(queued, started)), running)


def _runs_on(target: Any, backbone: str | None) -> bool:
    return backbone is None or target in (None, backbone)


def _to_send(connection: Connection, limit: int, *conditions: ColumnElement[bool]) -> list[tuple[str, str, JobKind]]:
    query = select(jobs.c.tenant, jobs.c.id, jobs.c.kind).where(*conditions).order_by(jobs.c.created).limit(limit)
    return [(row.tenant, row.id, JobKind(row.kind)) for row in connection.execute(query)]
