"""Conversion of rows of the jobs table to records."""

from __future__ import annotations

from typing import Any

from service.storage.records import JobKind, JobRecord, JobState
from service.storage.repositories.scope import moment

MIN_ETA_S = 1.0  # of a job that takes longer than predicted


def job_record(row: Any, now: float, position: int | None = None, eta: float | None = None) -> JobRecord:
    """Convert a row.

    Args:
        row: All columns of the table.
        now: Seconds since 1970 by the database's clock.
        position: Place in the queue, of a queued job.
        eta: Predicted seconds to the end, of a queued job; a running one's stand in its row.
    """
    state = JobState(row.state)
    if state in (JobState.RUNNING, JobState.PUBLISHING) and row.expected_end is not None:
        eta = round(max(MIN_ETA_S, row.expected_end - now), 1)
    return JobRecord(
        id=row.id,
        tenant=row.tenant,
        state=state,
        progress=row.progress,
        step=row.step,
        message=row.message,
        attempt=row.attempt,
        token=row.token,
        created=moment(row.created),
        started=moment(row.started),
        finished=moment(row.finished),
        error=row.error,
        version=row.version,
        first_version=row.first_version,
        activated=row.activated,
        reason=row.reason,
        options=dict(row.options),
        clips=len(row.clips),
        cancel_requested=row.cancel_requested,
        eta_seconds=eta,
        queue_position=position,
        kind=JobKind(row.kind),
        source=row.source,
        target=row.target,
    )
