"""A row of the jobs table as the record that the repositories give."""

from __future__ import annotations

import time
from typing import Any

from service.storage.records import JobKind, JobRecord, JobState
from service.storage.repositories.scope import moment


def job_record(row: Any, position: int | None = None) -> JobRecord:
    """A row of the table."""
    state = JobState(row.state)
    eta = None
    if state in (JobState.RUNNING, JobState.PUBLISHING) and row.started and row.progress > 0.02:
        eta = round((time.time() - row.started) * (1 - row.progress) / row.progress, 1)
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
