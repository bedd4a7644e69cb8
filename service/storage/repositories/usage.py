"""What a tenant uses per day, and the first answers to its idempotency keys."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from service.errors import IdempotencyConflict, NotFound
from service.storage.records import StoredAnswer, UsageDay
from service.storage.repositories.scope import TenantScope, new_id
from service.storage.sql.tables import clips, idempotency, prompts, usage

REMEMBERED_S = 24 * 3600.0
IN_HAND = 0  # the status of a key whose first request is still being answered
IN_HAND_S = 120.0  # then whoever took it has died


def today() -> dt.date:
    """The date in UTC."""
    return dt.datetime.now(dt.timezone.utc).date()


class UsageRepository:
    """A tenant's counters and remembered answers."""

    def __init__(self, scope: TenantScope) -> None:
        self._scope = scope

    def add_usage(self, *, predictions: int = 0, tuning_seconds: float = 0.0) -> None:
        """Count something for today; nothing for a tenant that is gone."""
        day = today().isoformat()
        key = (usage.c.tenant == self._scope.tenant) & (usage.c.day == day)
        row = {"tenant": self._scope.tenant, "day": day, "stored_bytes": 0}
        row |= {"predictions": predictions, "tuning_seconds": tuning_seconds}
        more = {
            "predictions": usage.c.predictions + predictions,
            "tuning_seconds": usage.c.tuning_seconds + tuning_seconds,
        }
        with self._scope.database.write() as connection:
            self._scope.require_tenant(connection)
            counted = self._scope.database.upsert(usage).values(row)
            connection.execute(counted.on_conflict_do_update(index_elements=["tenant", "day"], set_=more))
            # Summed while the row is ours: else a slower replica could write down an older sum over a newer one.
            stored = 0
            for table in (clips, prompts):
                total = select(func.coalesce(func.sum(table.c.bytes), 0)).where(table.c.tenant == self._scope.tenant)
                stored += int(connection.execute(total).scalar_one())
            connection.execute(update(usage).where(key).values(stored_bytes=stored))

    def usage(self, days: int = 30) -> list[UsageDay]:
        """The last days with any use, newest first; today is always there."""
        self.add_usage()
        since = (today() - dt.timedelta(days=days - 1)).isoformat()
        query = self._scope.select(usage, usage.c.day >= since).order_by(usage.c.day.desc())
        with self._scope.database.read() as connection:
            rows = connection.execute(query).all()
        return [UsageDay(dt.date.fromisoformat(r.day), r.predictions, r.tuning_seconds, r.stored_bytes) for r in rows]

    def idempotent(self, key: str, digest: str) -> StoredAnswer | None:
        """The first answer to this key, not older than a day.

        Raises:
            IdempotencyConflict: The key came with another request.
        """
        with self._scope.database.read() as connection:
            fresh = idempotency.c.created > self._scope.database.clock(connection) - REMEMBERED_S
            row = connection.execute(self._scope.select(idempotency, idempotency.c.key == key, fresh)).first()
        return None if row is None else _answer(row, digest)

    def claim(self, key: str, digest: str) -> StoredAnswer | str | None:
        """Take a key in hand before its first request is done; of many that try at once, in any process, one does.

        Returns:
            The first answer if there is one; else a mark, for ``remember`` or ``release``, where the request is ours to
            do; else None, while somebody else does it. For a tenant that is not there yet nothing is kept: the mark is
            empty, and many may have one.

        Raises:
            IdempotencyConflict: The key came with another request.
        """
        mark = new_id()
        with self._scope.database.write() as connection:
            try:
                self._scope.require_tenant(connection)
            except NotFound:
                return ""
            now = self._scope.database.clock(connection)
            self._forget_old(connection, now)
            row = {"tenant": self._scope.tenant, "key": key, "digest": digest, "created": now}
            row |= {"status": IN_HAND, "body": {"mark": mark}}
            taken = self._scope.database.upsert(idempotency).values(row).on_conflict_do_nothing()
            if connection.execute(taken.returning(idempotency.c.key)).first() is not None:
                return mark
            there = connection.execute(self._scope.select_for_update(idempotency, idempotency.c.key == key)).first()
            if there is None:  # let go in this moment
                return None
            answer = _answer(there, digest)
            if answer is not None or there.created > now - IN_HAND_S:
                return answer
            connection.execute(update(idempotency).where(self._key(key)).values(row))
            return mark

    def release_claim(self, key: str, mark: str) -> None:
        """Give a key back whose request failed, so that it may be tried again."""
        with self._scope.database.write() as connection:
            row = connection.execute(self._scope.select_for_update(idempotency, idempotency.c.key == key)).first()
            if row is not None and _claim_token(row, mark):
                connection.execute(delete(idempotency).where(self._key(key)))

    def remember(self, key: str, digest: str, status: int, body: dict[str, Any], mark: str = "") -> None:
        """Keep the first answer to a key for a day; a second one changes nothing.

        Args:
            key: The key.
            digest: What tells its request from others.
            status: The answer's status.
            body: Its document.
            mark: What ``start`` gave.
        """
        with self._scope.database.write() as connection:
            try:
                self._scope.require_tenant(connection)
            except NotFound:  # erased meanwhile, and nothing may stay
                return
            now = self._scope.database.clock(connection)
            self._forget_old(connection, now)
            row = {"tenant": self._scope.tenant, "key": key, "digest": digest, "created": now}
            row |= {"status": status, "body": body}
            first = self._scope.database.upsert(idempotency).values(row).on_conflict_do_nothing()
            if connection.execute(first.returning(idempotency.c.key)).first() is not None:
                return
            there = connection.execute(self._scope.select_for_update(idempotency, idempotency.c.key == key)).first()
            if there is not None and _claim_token(there, mark):
                connection.execute(update(idempotency).where(self._key(key)).values(row))

    def _key(self, key: str) -> Any:
        return (idempotency.c.tenant == self._scope.tenant) & (idempotency.c.key == key)

    def _forget_old(self, connection: Connection, now: float) -> None:
        old = (idempotency.c.tenant == self._scope.tenant) & (idempotency.c.created <= now - REMEMBERED_S)
        connection.execute(delete(idempotency).where(old))


def _answer(row: Any, digest: str) -> StoredAnswer | None:
    if row.digest != digest:
        raise IdempotencyConflict("This Idempotency-Key was used for another request within 24 hours.")
    return None if row.status == IN_HAND else StoredAnswer(row.status, dict(row.body))


def _claim_token(row: Any, mark: str) -> bool:
    return bool(row.status == IN_HAND and row.body.get("mark") == mark)
