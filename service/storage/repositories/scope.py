"""What all repositories share: a tenant, a database, blobs, ids and cursors."""

from __future__ import annotations

import datetime as dt
import secrets
import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, Table, select
from sqlalchemy.sql.elements import ColumnElement

from service.errors import InvalidRequest, NotFound
from service.storage.blobs.filesystem import BlobStore
from service.storage.sql import database
from service.storage.sql.database import Database
from service.storage.sql.tables import tenants

NOT_FOUND_MESSAGE = database.NOT_FOUND_MESSAGE


@dataclass(frozen=True)
class TenantScope:
    """What every part of a tenant's repository works on. No query is built without its tenant."""

    tenant: str
    database: Database
    blobs: BlobStore

    def select(self, table: Table, *conditions: ColumnElement[bool]) -> Select[Any]:
        """A query for the tenant's rows of a table."""
        return select(table).where(table.c.tenant == self.tenant, *conditions)

    def select_for_update(self, table: Table, *conditions: ColumnElement[bool]) -> Select[Any]:
        """The same for a transaction that goes on to change the rows, which nobody else may do before it ends.

        SQLite has no such clause and needs none: only one transaction writes at a time.
        """
        return self.select(table, *conditions).with_for_update()

    def require_tenant(self, connection: Connection) -> None:
        """Refuse to write for a tenant that was erased meanwhile.

        Raises:
            NotFound: There is no such tenant.
        """
        # The weakest lock that an erasure waits for: activations and other writers of the tenant go on beside it.
        query = select(tenants.c.id).where(tenants.c.id == self.tenant).with_for_update(read=True, key_share=True)
        if connection.execute(query).first() is None:
            raise NotFound(NOT_FOUND_MESSAGE)

    def lock_tenant(self, connection: Connection) -> Any:
        """The tenant's row for a transaction that moves its pointers; None where there is none.

        Always before a lock on anything of the tenant: an erasure takes its locks in this order, too.
        """
        query = select(tenants).where(tenants.c.id == self.tenant).with_for_update(key_share=True)
        return connection.execute(query).first()


def new_id() -> str:
    """A fresh id whose order is that of time."""
    return f"{time.time_ns() // 1_000_000:011x}{secrets.token_hex(6)}"


def moment(seconds: float | None) -> Any:
    """Seconds since 1970 as an aware time in UTC; None stays None."""
    return None if seconds is None else dt.datetime.fromtimestamp(seconds, dt.timezone.utc)


def plain_cursor(after: str | None) -> str | None:
    """A cursor that is an id.

    Raises:
        InvalidRequest: It cannot be one.
    """
    if after is not None and (not after or len(after) > 64 or not after.isascii() or not after.isprintable()):
        raise _bad_cursor()
    return after


def number_cursor(after: str | None) -> int | None:
    """A cursor that is a number.

    Raises:
        InvalidRequest: It is none.
    """
    text = plain_cursor(after)
    if text is None:
        return None
    if not text.isdigit() or len(text) > 9:
        raise _bad_cursor()
    return int(text)


def _bad_cursor() -> InvalidRequest:
    row = {"loc": "query.after", "rule": "bad_cursor", "message": "after must be the next of the page before"}
    return InvalidRequest("The cursor is not valid.", errors=[row])
