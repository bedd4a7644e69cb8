"""Runs tuning jobs to a recorded end, whatever happens; the steps of a job are in ``training.jobs.pipeline``."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import structlog

from service.errors import LostLease, NotFound, ServiceError, StorageUnavailable
from service.storage.records import JobState
from skeleton_prompt.model.prompt_file import BadPrompt
from training.jobs.backbone_upgrade import Superseded, TrainingClipsMissing
from training.jobs.context import WorkerContext
from training.jobs.errors import JobFailed
from training.jobs.lease import GRACE_S, Cancelled, Lease, Requeued, TimeLimitExceeded
from training.jobs.pipeline import TuningRun
from training.jobs.training_examples import TooManyWindows

if TYPE_CHECKING:
    from service.storage.records import JobRecord
    from service.storage.store import TenantRepository

log = structlog.get_logger(__name__)

MAX_ATTEMPTS = 5


def run_next(workplace: WorkerContext, tenant: str, job_id: str) -> str:
    """Run the job whose turn it is, on a message that names some job.

    Messages arrive in the order of the requests; the jobs table decides in which order tenants are served. There are at
    least as many messages as queued jobs, so each job's turn comes.

    Args:
        workplace: Of the worker.
        tenant: Tenant of the named job.
        job_id: The named job, which is tried where no other is waiting.

    Returns:
        See ``run_job``.
    """
    for owner, waiting in workplace.storage.dispatch.next_jobs(workplace.engine.backbone_sha256):
        outcome = run_job(workplace, owner, waiting)
        if outcome != "refused":
            return outcome
    return run_job(workplace, tenant, job_id)


def run_job(workplace: WorkerContext, tenant: str, job_id: str) -> str:
    """Run a job to its end, if it is free.

    Returns:
        ``succeeded``, ``failed``, ``cancelled``; ``lost`` or ``returned`` where another attempt will go on; ``refused``
        where the job is finished, gone, or in other hands.
    """
    repository = workplace.storage.tenant(tenant)
    limit = workplace.max_seconds
    with contextlib.suppress(NotFound):
        limit = min(float(repository.get_job(job_id).options.get("max_seconds") or limit), limit)
    backbone = workplace.engine.backbone_sha256
    job = repository.claim_job(job_id, workplace.name, backbone, limit_s=limit + GRACE_S)
    if job is None:
        log.info("job not taken", tenant=tenant, job=job_id)
        return "refused"
    with structlog.contextvars.bound_contextvars(tenant=tenant, job=job.id, attempt=job.attempt):
        log.info("job taken", clips=job.clips)
        lease = Lease(
            repository,
            job,
            lease_s=workplace.lease_s,
            max_seconds=limit,
            stopping=workplace.stopping,
            abandon=workplace.abandon,
        )
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
    except TimeLimitExceeded as error:
        return _over_time(repository, job, error)
    except (JobFailed, TooManyWindows, TrainingClipsMissing, BadPrompt) as error:
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


def _over_time(repository: TenantRepository, job: JobRecord, error: TimeLimitExceeded) -> str:
    """Record the end of a job at its limit: with its first version if that is active, else as failed."""
    version = repository.get_job(job.id).first_version
    if version is None:
        return _finish(repository, job, JobState.FAILED, error=f"time_limit: {error}")
    return _finish(
        repository,
        job,
        JobState.SUCCEEDED,
        reason=f"the refinement reached the time limit (max_seconds); version {version} stays",
        version=version,
    )


def _finish(
    repository: TenantRepository,
    job: JobRecord,
    state: JobState,
    error: str | None = None,
    reason: str | None = None,
    gave_way: bool = False,
    version: int | None = None,
) -> str:
    """Record an end; the version that is active stays so."""
    try:
        repository.finish_job(
            job.id,
            job.token,
            state,
            error=error,
            reason=reason,
            gave_way=gave_way,
            version=version,
            activated=version is not None,
        )
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
