"""Runs a tuning job to an end that is recorded, whatever happens; its steps stand in ``training.jobs.pipeline``."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import structlog

from service.errors import LostLease, ServiceError, StorageUnavailable
from service.storage.records import JobState
from skeleton_prompt.model.prompt_file import BadPrompt
from training.jobs.backbone_upgrade import Superseded, TrainingClipsMissing
from training.jobs.lease import Cancelled, Lease, Requeued, TimeLimitExceeded
from training.jobs.pipeline import JobFailed, TuningRun, WorkerContext
from training.jobs.training_examples import TooManyWindows

if TYPE_CHECKING:
    from service.storage.records import JobRecord
    from service.storage.store import TenantRepository

log = structlog.get_logger(__name__)

MAX_ATTEMPTS = 5


def run_job(workplace: WorkerContext, tenant: str, job_id: str) -> str:
    """Run a job to its end, if it is free.

    Returns:
        ``succeeded``, ``failed``, ``cancelled``; ``lost`` or ``returned`` where another attempt will go on; ``refused``
        where the job is finished, gone, or in other hands.
    """
    repository = workplace.storage.tenant(tenant)
    job = repository.claim_job(job_id, workplace.name, workplace.engine.backbone_sha256)
    if job is None:
        log.info("job not taken", tenant=tenant, job=job_id)
        return "refused"
    with structlog.contextvars.bound_contextvars(tenant=tenant, job=job.id, attempt=job.attempt):
        log.info("job taken", clips=job.clips)
        limit = min(float(job.options.get("max_seconds") or workplace.max_seconds), workplace.max_seconds)
        lease = Lease(repository, job, lease_s=workplace.lease_s, max_seconds=limit, stopping=workplace.stopping)
        began = time.monotonic()
        with lease:
            ended = _guarded(TuningRun(workplace, repository, job, lease))
        with contextlib.suppress(ServiceError):
            repository.add_usage(tuning_seconds=time.monotonic() - began)
        return ended


def _guarded(attempt: TuningRun) -> str:
    """Run an attempt and record how it ended."""
    job, repository = attempt.job, attempt.repository
    try:
        if job.attempt > MAX_ATTEMPTS:
            raise JobFailed(f"the job was started {job.attempt - 1} times and its worker never lived to finish it")
        attempt.run()
    except LostLease as error:
        log.warning("job lost to another worker", error=str(error))
        return "lost"
    except Requeued:
        log.info("job given back, the worker is stopping")
        _give_back(repository, job)
        return "returned"
    except Cancelled:
        return _finish(repository, job, JobState.CANCELLED)
    except Superseded as error:
        return _finish(repository, job, JobState.CANCELLED, reason=str(error), gave_way=True)
    except (JobFailed, TooManyWindows, TrainingClipsMissing, TimeLimitExceeded, BadPrompt) as error:
        return _finish(repository, job, JobState.FAILED, error=str(error))
    except StorageUnavailable as error:
        if job.attempt < MAX_ATTEMPTS:
            log.warning("storage is not available, another attempt will go on", error=error.detail)
            _give_back(repository, job)
            return "returned"
        return _finish(repository, job, JobState.FAILED, error=error.detail)
    except ServiceError as error:
        log.exception("job failed in storage")
        return _finish(repository, job, JobState.FAILED, error=error.detail)
    except Exception as error:
        log.exception("job failed")
        return _finish(repository, job, JobState.FAILED, error=f"internal error in the worker ({type(error).__name__})")
    log.info("job succeeded", seconds=round(attempt.clock.total, 1))
    return "succeeded"


def _finish(
    repository: TenantRepository,
    job: JobRecord,
    state: JobState,
    error: str | None = None,
    reason: str | None = None,
    gave_way: bool = False,
) -> str:
    """Record an end without a version; the version that was active before stays so."""
    try:
        repository.finish_job(job.id, job.token, state, error=error, reason=reason, gave_way=gave_way)
    except (LostLease, ServiceError):
        # The lease runs out and another attempt comes to an end of its own, or the tenant is gone.
        log.exception("the end of the job could not be recorded", state=state.value)
        return "lost"
    log.info("job ended", state=state.value, error=error, reason=reason)
    return state.value


def _give_back(repository: TenantRepository, job: JobRecord) -> None:
    try:
        repository.release(job.id, job.token)
    except (LostLease, ServiceError):
        log.exception("the job could not be given back; its lease will run out")
