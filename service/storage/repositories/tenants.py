"""Tenants and keys across tenants: create, list and erase tenants, authenticate keys."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, bindparam, delete, insert, select
from sqlalchemy.exc import IntegrityError

from service.errors import (
    Forbidden,
    InvalidRequest,
    NoActivePrompt,
    NotFound,
    TenantExists,
    Unauthenticated,
    VersionNotFound,
)
from service.storage.blobs.filesystem import BlobStore
from service.storage.records import SCOPES, KeyRecord, Page, Principal, ResolvedPrompt, TenantRecord
from service.storage.repositories.keys import KeyHasher, add_key, key_id_of
from service.storage.repositories.scope import NOT_FOUND_MESSAGE, moment, plain_cursor
from service.storage.sql.database import Database
from service.storage.sql.tables import OF_TENANT, keys, prompts, tenants
from skeleton_prompt.model.prompt_file import PromptRef

ADMIN = Principal("admin", None, frozenset(SCOPES))
UNKNOWN_KEY = "The key is not known."


def _resolving(admin: bool, of_version: bool) -> Select[Any]:
    """The single query of a prediction; ``key`` is a tenant id with the admin key, else a key id."""
    wanted = bindparam("version") if of_version else tenants.c.active_version
    of_prompt = (prompts.c.tenant == tenants.c.id) & (prompts.c.version == wanted)
    columns = (tenants.c.id, tenants.c.active_version, prompts.c.version, prompts.c.sha256, prompts.c.labels)
    if admin:
        joined = tenants.outerjoin(prompts, of_prompt)
        return select(*columns).select_from(joined).where(tenants.c.id == bindparam("key"))
    owned = keys.join(tenants, tenants.c.id == keys.c.tenant).outerjoin(prompts, of_prompt)
    return select(*columns, keys.c.digest, keys.c.scopes).select_from(owned).where(keys.c.id == bindparam("key"))


# Made once: putting a statement together costs several times what the database takes to answer it.
_RESOLVE = {(admin, version): _resolving(admin, version) for admin in (False, True) for version in (False, True)}

_AUTHENTICATE = select(keys).where(keys.c.id == bindparam("key"))


class AdminRepository:
    """Repository of everything across tenants.

    Args:
        database: The database.
        blobs: The blob store.
        hasher: Computes key digests.
        admin_key: Digest of the admin key.
    """

    def __init__(self, database: Database, blobs: BlobStore, hasher: KeyHasher, admin_key: bytes) -> None:
        self._database = database
        self._blobs = blobs
        self._hasher = hasher
        self._admin_key = admin_key

    def create_tenant(self, tenant_id: str, name: str | None = None) -> tuple[TenantRecord, KeyRecord, str]:
        """Create a tenant and its first key, which has all scopes.

        Returns:
            The tenant, the key, and the key's secret, which is not stored.

        Raises:
            TenantExists: The id is taken.
        """
        try:
            with self._database.write() as connection:
                created = self._database.clock(connection)
                row = {"id": tenant_id, "name": name, "created": created, "last_version": 0}
                connection.execute(insert(tenants).values(row))
                key, secret = add_key(connection, tenant_id, self._hasher, SCOPES, created)
        except IntegrityError:
            raise TenantExists(f"There is a tenant {tenant_id!r} already.") from None
        return TenantRecord(tenant_id, name, moment(created)), key, secret

    def list_tenants(self, limit: int = 50, after: str | None = None) -> Page[TenantRecord]:
        """Tenants, by id."""
        query = select(tenants).order_by(tenants.c.id).limit(limit + 1)
        cursor = plain_cursor(after)
        if cursor is not None:
            query = query.where(tenants.c.id > cursor)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        found = [TenantRecord(row.id, row.name, moment(row.created)) for row in rows[:limit]]
        return Page(found, rows[limit - 1].id if len(rows) > limit else None)

    def get_tenant(self, tenant_id: str) -> TenantRecord:
        """A tenant.

        Raises:
            NotFound: No tenant has this id.
        """
        with self._database.read() as connection:
            row = connection.execute(select(tenants).where(tenants.c.id == tenant_id)).first()
        if row is None:
            raise NotFound(NOT_FOUND_MESSAGE)
        return TenantRecord(row.id, row.name, moment(row.created))

    def delete_tenant(self, tenant_id: str) -> dict[str, Any]:
        """Erase a tenant: rows, blobs, and their remains in SQLite's write-ahead log.

        Returns:
            Erasure receipt: number of erased items by kind.

        Raises:
            NotFound: No tenant has this id.
            StorageUnavailable: Not all files could be erased; the tenant is still there, to be erased again.
        """
        erased: dict[str, int] = {}
        # Unhurried, because there may be very many files.
        with self._database.write(no_timeout=True) as connection:
            if not connection.execute(delete(tenants).where(tenants.c.id == tenant_id)).rowcount:
                raise NotFound(NOT_FOUND_MESSAGE)
            for name, table in OF_TENANT.items():
                erased[name] = connection.execute(delete(table).where(table.c.tenant == tenant_id)).rowcount
            # Before the commit: were it after, files that could not be erased would have no tenant to name them by.
            files = self._blobs.delete_below(f"tenants/{tenant_id}")
            now = self._database.clock(connection)
        self._database.checkpoint_wal()
        return {
            "tenant": tenant_id,
            "erased": {**erased, "files": files, "cache_entries": erased["prompts"]},
            "time": moment(now).isoformat().replace("+00:00", "Z"),
        }

    def is_admin_key(self, secret: str) -> bool:
        """Whether a key is the admin key; no read of the database."""
        return self._hasher.equal(secret, self._admin_key)

    def authenticate(self, secret: str) -> Principal | None:
        """The principal of a key, or None."""
        if self._hasher.equal(secret, self._admin_key):
            return ADMIN
        key_id = key_id_of(secret)
        if key_id is None:
            return None
        with self._database.read() as connection:
            row = connection.execute(_AUTHENTICATE, {"key": key_id}).first()
        self._database.enable_nowait_reads()
        return self._principal(row, secret)

    def authenticate_nowait(self, secret: str) -> tuple[Principal | None] | None:
        """``authenticate`` without blocking: its result in a tuple, or None if it would have to block."""
        if self._hasher.equal(secret, self._admin_key):
            return (ADMIN,)
        key_id = key_id_of(secret)
        if key_id is None:
            return (None,)
        rows = self._database.read_nowait(_AUTHENTICATE, {"key": key_id})
        return None if rows is None else (self._principal(rows[0] if rows else None, secret),)

    def _principal(self, row: Any, secret: str) -> Principal | None:
        if row is None or not self._hasher.equal(secret, row.digest):
            return None
        return Principal("tenant", row.tenant, frozenset(row.scopes), row.id)

    def resolve_prediction(self, secret: str, tenant: str | None = None, version: int | None = None) -> ResolvedPrompt:
        """Authenticate a request and resolve its prompt version with one indexed read.

        Args:
            secret: The key.
            tenant: For the admin key, whose prompt; a tenant's key may name its own only.
            version: The version, or None for the active one.

        Raises:
            Unauthenticated, Forbidden, NotFound, VersionNotFound, NoActivePrompt, InvalidRequest: As the API says.
        """
        query, values, key_id = self._resolving(secret, tenant, version)
        with self._database.read() as connection:
            found = connection.execute(query, values).first()
        self._database.enable_nowait_reads()
        return self._resolved(found, secret, tenant, version, key_id)

    def resolve_prediction_nowait(self, secret: str, tenant: str | None, version: int | None) -> ResolvedPrompt | None:
        """``resolve_prediction`` without blocking, for an event loop; None where it would block.

        Raises:
            Unauthenticated, Forbidden, NotFound, VersionNotFound, NoActivePrompt, InvalidRequest: As the API says.
        """
        query, values, key_id = self._resolving(secret, tenant, version)
        rows = self._database.read_nowait(query, values)
        if rows is None:
            return None
        return self._resolved(rows[0] if rows else None, secret, tenant, version, key_id)

    def _resolving(
        self, secret: str, tenant: str | None, version: int | None
    ) -> tuple[Select[Any], dict[str, Any], str | None]:
        """Query, parameters and key id (None for the admin key)."""
        admin = self._hasher.equal(secret, self._admin_key)
        key_id = None if admin else key_id_of(secret)
        if not admin and key_id is None:
            raise Unauthenticated(UNKNOWN_KEY)
        if admin and tenant is None:
            message = "the admin key has no tenant of its own: name one"
            row = {"loc": "tenant", "rule": "missing_tenant", "message": message}
            raise InvalidRequest("The tenant is missing.", errors=[row])
        values = {"key": tenant if admin else key_id} | ({} if version is None else {"version": version})
        return _RESOLVE[admin, version is not None], values, key_id

    def _resolved(
        self, row: Any, secret: str, tenant: str | None, version: int | None, key_id: str | None
    ) -> ResolvedPrompt:
        principal = ADMIN
        if key_id is not None:
            if row is None or not self._hasher.equal(secret, row.digest):
                raise Unauthenticated(UNKNOWN_KEY)
            principal = Principal("tenant", row.id, frozenset(row.scopes), key_id)
            if "predict" not in principal.scopes:
                raise Forbidden("The key lacks the scope predict.")
        if row is None or (tenant is not None and tenant != row.id):
            raise NotFound(NOT_FOUND_MESSAGE)
        if row.version is None and version is not None:
            raise VersionNotFound("There is no such version.")
        if row.version is None:
            raise NoActivePrompt("Nothing has been taught yet: POST /tenants/<id>/tune first.")
        return ResolvedPrompt(principal, PromptRef(row.id, row.version, row.sha256), tuple(row.labels))
