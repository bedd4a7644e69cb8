"""A tenant's jobs that nobody asked for: the active version is tuned again, because the backbone is new."""

from __future__ import annotations

from sqlalchemy import select

from service.errors import NotFound
from service.storage.records import JobKind, JobRecord, JobState
from service.storage.repositories.jobs import ACTIVE, JobRepository
from service.storage.repositories.scope import NOT_FOUND_MESSAGE, TenantScope
from service.storage.sql.tables import jobs, prompts, tenants

OPEN = (JobState.QUEUED.value, *ACTIVE)
SAME_OPTIONS = ("seed",)  # of the job that made the version; its max_seconds was for somebody who waited


class BackboneUpgradeRepository:
    """Makes such jobs and takes them back.

    Args:
        scope: The tenant.
        jobs: Their jobs.
    """

    def __init__(self, scope: TenantScope, jobs: JobRepository) -> None:
        self._scope = scope
        self._jobs = jobs

    def create_backbone_upgrade(self, source: int, target: str) -> JobRecord | None:
        """Queue a job that tunes the active version again on a new backbone, from the clips it was made of.

        Args:
            source: The version.
            target: SHA-256 of the backbone.

        Returns:
            The job, or None where there is nothing to do: the version is not active, was tried on this backbone before,
            or the tenant has other jobs open. Of many that ask at once one gets the job.

        Raises:
            NotFound: The tenant is gone.
        """
        owner = tenants.c.id == self._scope.tenant
        with self._scope.database.write() as connection:
            # The tenant's row first, and for as long as this takes: whoever else asks finds what was made here.
            query = select(tenants.c.active_version).where(owner).with_for_update()
            found = connection.execute(query).first()
            if found is None:
                raise NotFound(NOT_FOUND_MESSAGE)
            version = connection.execute(self._scope.select(prompts, prompts.c.version == source)).first()
            if found.active_version != source or version is None or version.backbone_sha256 == target:
                return None
            again = (jobs.c.source == source) & (jobs.c.target == target)
            if connection.execute(self._scope.select(jobs, again | jobs.c.state.in_(OPEN))).first() is not None:
                return None
            lesson = connection.execute(self._scope.select(jobs, jobs.c.id == version.job)).first()
            options = {name: lesson.options[name] for name in SAME_OPTIONS if name in lesson.options} if lesson else {}
            options |= {"activate": "if_better", "base_version": source, "backbone_sha256": target}
            columns = {"kind": JobKind.BACKBONE_UPGRADE.value, "source": source, "target": target}
            job_id = self._jobs.insert(connection, list(lesson.clips) if lesson else [], options, columns)
        return self._jobs.get_job(job_id)

    def cancel_backbone_upgrade(self, job_id: str) -> None:
        """Cancel a job for a backbone that is not the newest any more; its version may be tried there again.

        One that a worker has in hand is left alone, unless that worker has lost its lease: nobody else would take it.
        """
        with self._scope.database.write() as connection:
            owner = self._scope.lock_tenant(connection)
            row = connection.execute(self._scope.select_for_update(jobs, jobs.c.id == job_id)).first()
            if owner is None or row is None or row.kind != JobKind.BACKBONE_UPGRADE.value or row.state not in OPEN:
                return
            if row.state in ACTIVE and (row.lease_until or 0) >= self._scope.database.clock(connection):
                return
            values = {"reason": "the service runs on another backbone by now", "target": None}
            withdrawn = self._jobs.cancel_internal(connection, row, owner, values)
        self._jobs.clear(job_id, withdrawn)
