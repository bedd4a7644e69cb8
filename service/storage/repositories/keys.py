"""Keys: made, listed, revoked, and recognised by a keyed hash alone."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import Any

from sqlalchemy import Connection, delete, insert

from service.errors import NotFound
from service.storage.records import SCOPES, KeyRecord, Page
from service.storage.repositories.scope import NOT_FOUND_MESSAGE, TenantScope, moment, new_id, plain_cursor
from service.storage.sql.tables import keys

FORM = re.compile(r"sp_([0-9a-f]{23})_([A-Za-z0-9_-]{43})", re.ASCII)


class KeyHasher:
    """HMAC-SHA256 of secrets under the service's own secret: a stolen database alone lets nobody in."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def digest(self, key: str) -> bytes:
        """32 bytes to store or compare."""
        return hmac.new(self._secret, key.encode("utf-8", "replace"), hashlib.sha256).digest()

    def equal(self, key: str, digest: bytes) -> bool:
        """Whether a key has this digest, in constant time."""
        return hmac.compare_digest(self.digest(key), digest)


def key_id_of(secret: str) -> str | None:
    """The id inside a key, or None where it has not the form of one."""
    found = FORM.fullmatch(secret)
    return found.group(1) if found else None


def key_record(row: Any) -> KeyRecord:
    """A row of the table."""
    return KeyRecord(row.id, frozenset(row.scopes), moment(row.created))


def add_key(
    connection: Connection, tenant: str, hasher: KeyHasher, scopes: list[str] | tuple[str, ...], created: float
) -> tuple[KeyRecord, str]:
    """Create a key inside a transaction; its secret is not stored.

    Args:
        connection: The transaction.
        tenant: Whose key it is.
        hasher: Makes the digest of the secret.
        scopes: Of the key.
        created: Seconds since 1970 by the database's clock.
    """
    key_id = new_id()
    secret = f"sp_{key_id}_{secrets.token_urlsafe(32)}"
    row = {
        "id": key_id,
        "tenant": tenant,
        "digest": hasher.digest(secret),
        "scopes": sorted(scopes),
        "created": created,
    }
    connection.execute(insert(keys).values(row | {"created": created}))
    return KeyRecord(key_id, frozenset(scopes), moment(created)), secret


class KeyRepository:
    """A tenant's keys."""

    def __init__(self, scope: TenantScope, hasher: KeyHasher) -> None:
        self._scope = scope
        self._hasher = hasher

    def create_key(self, scopes: list[str] | tuple[str, ...] = SCOPES) -> tuple[KeyRecord, str]:
        """Make a key; the secret is given this once.

        Raises:
            NotFound: The tenant is gone.
        """
        with self._scope.database.write() as connection:
            self._scope.require_tenant(connection)
            now = self._scope.database.clock(connection)
            return add_key(connection, self._scope.tenant, self._hasher, scopes, now)

    def list_keys(self, limit: int = 50, after: str | None = None) -> Page[KeyRecord]:
        """Keys, oldest first."""
        query = self._scope.select(keys).order_by(keys.c.id).limit(limit + 1)
        cursor = plain_cursor(after)
        if cursor is not None:
            query = query.where(keys.c.id > cursor)
        with self._scope.database.read() as connection:
            rows = connection.execute(query).all()
        return Page([key_record(row) for row in rows[:limit]], rows[limit - 1].id if len(rows) > limit else None)

    def delete_key(self, key_id: str) -> None:
        """Revoke a key.

        Raises:
            NotFound: The tenant has no such key.
        """
        with self._scope.database.write() as connection:
            mine = (keys.c.tenant == self._scope.tenant) & (keys.c.id == key_id)
            if not connection.execute(delete(keys).where(mine)).rowcount:
                raise NotFound(NOT_FOUND_MESSAGE)
