"""What a tenant holds, for quotas."""

from __future__ import annotations

from sqlalchemy import func, select

from service.storage.records import Holdings, JobState
from service.storage.repositories.scope import TenantScope
from service.storage.sql.tables import clips, jobs, prompts

UNFINISHED = [state.value for state in JobState if not state.final]


class QuotaRepository:
    """Counts of what a tenant holds."""

    _scope: TenantScope

    def holdings(self) -> Holdings:
        """Stored clips and their bytes, prompt versions and unfinished jobs, by three indexed counts."""
        tenant = self._scope.tenant
        stored = select(func.count(), func.coalesce(func.sum(clips.c.bytes), 0)).where(clips.c.tenant == tenant)
        versions = select(func.count()).select_from(prompts).where(prompts.c.tenant == tenant)
        unfinished = select(func.count()).select_from(jobs).where(jobs.c.tenant == tenant, jobs.c.state.in_(UNFINISHED))
        with self._scope.database.read() as connection:
            count, size = connection.execute(stored).one()
            return Holdings(
                clips=int(count),
                bytes=int(size),
                prompts=int(connection.execute(versions).scalar_one()),
                jobs=int(connection.execute(unfinished).scalar_one()),
            )
