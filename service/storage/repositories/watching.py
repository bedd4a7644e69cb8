"""What the poller of event streams asks: which jobs have news, and which keys are still valid."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import func, select, tuple_

from service.storage.sql.database import Database
from service.storage.sql.tables import job_events, keys

Job = tuple[str, str]  # tenant and id


class WatchRepository:
    """Reads over all tenants that answer with ids only.

    Args:
        database: Where the rows are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def last_events(self, watched: Collection[Job]) -> dict[Job, int]:
        """The id of the last event of each job that has any; one query."""
        if not watched:
            return {}
        columns = (job_events.c.tenant, job_events.c.job)
        query = (
            select(*columns, func.max(job_events.c.id)).where(tuple_(*columns).in_(list(watched))).group_by(*columns)
        )
        with self._database.read() as connection:
            return {(tenant, job): int(last) for tenant, job, last in connection.execute(query)}

    def known_keys(self, key_ids: Collection[str]) -> set[str]:
        """Those of the keys that have not been revoked; one query."""
        if not key_ids:
            return set()
        with self._database.read() as connection:
            return set(connection.execute(select(keys.c.id).where(keys.c.id.in_(list(key_ids)))).scalars())
