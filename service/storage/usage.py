"""What a tenant uses per day, and the first answers to its idempotency keys."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from service.errors import IdempotencyConflict, NotFound
from service.storage.base import Scope
from service.storage.records import StoredAnswer, UsageDay
from service.storage.tables import clips, idempotency, prompts, usage

REMEMBERED_S = 24 * 3600.0


def today() -> dt.date:
    """The date in UTC."""
    return dt.datetime.now(dt.timezone.utc).date()


class UsageRepository:
    """A tenant's counters and remembered answers."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def add_usage(self, *, predictions: int = 0, tuning_seconds: float = 0.0) -> None:
        """Count something for today; nothing for a tenant that is gone."""
        day = today().isoformat()
        key = (usage.c.tenant == self._scope.tenant) & (usage.c.day == day)
        with self._scope.database.write() as connection:
            stored = 0
            for table in (clips, prompts):
                total = select(func.coalesce(func.sum(table.c.bytes), 0)).where(table.c.tenant == self._scope.tenant)
                stored += int(connection.execute(total).scalar_one())
            values = {
                "predictions": usage.c.predictions + predictions,
                "tuning_seconds": usage.c.tuning_seconds + tuning_seconds,
                "stored_bytes": stored,
            }
            if connection.execute(update(usage).where(key).values(values)).rowcount:
                return
            row = {"tenant": self._scope.tenant, "day": day, "predictions": predictions}
            row |= {"tuning_seconds": tuning_seconds, "stored_bytes": stored}
            self._scope.require_tenant(connection)
            try:
                with connection.begin_nested():
                    connection.execute(insert(usage).values(row))
            except IntegrityError:  # another replica was first to count something today
                connection.execute(update(usage).where(key).values(values))

    def usage(self, days: int = 30) -> list[UsageDay]:
        """The last days with any use, newest first; today is always there."""
        self.add_usage()
        since = (today() - dt.timedelta(days=days - 1)).isoformat()
        query = self._scope.mine(usage, usage.c.day >= since).order_by(usage.c.day.desc())
        with self._scope.database.read() as connection:
            rows = connection.execute(query).all()
        return [UsageDay(dt.date.fromisoformat(r.day), r.predictions, r.tuning_seconds, r.stored_bytes) for r in rows]

    def idempotent(self, key: str, digest: str) -> StoredAnswer | None:
        """The first answer to this key, not older than a day.

        Raises:
            IdempotencyConflict: The key came with another request.
        """
        fresh = idempotency.c.created > time.time() - REMEMBERED_S
        with self._scope.database.read() as connection:
            row = connection.execute(self._scope.mine(idempotency, idempotency.c.key == key, fresh)).first()
        if row is None:
            return None
        if row.digest != digest:
            raise IdempotencyConflict("This Idempotency-Key was used for another request within 24 hours.")
        return StoredAnswer(row.status, dict(row.body))

    def remember(self, key: str, digest: str, status: int, body: dict[str, Any]) -> None:
        """Keep the first answer to a key for a day; a second one changes nothing."""
        now = time.time()
        with self._scope.database.write() as connection:
            old = (idempotency.c.tenant == self._scope.tenant) & (idempotency.c.created <= now - REMEMBERED_S)
            connection.execute(delete(idempotency).where(old))
            row = {"tenant": self._scope.tenant, "key": key, "digest": digest, "status": status, "body": body}
            try:
                self._scope.require_tenant(connection)
                with connection.begin_nested():
                    connection.execute(insert(idempotency).values(row | {"created": now}))
            except (IntegrityError, NotFound):  # answered twice at once; or erased meanwhile, and nothing may stay
                return
