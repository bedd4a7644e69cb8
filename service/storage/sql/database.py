"""Database access: engine, read and write transactions, migrations, translated errors."""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, Row, Select, Table, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DatabaseError, DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from service.errors import InvalidRequest, NotFound, StorageFull, StorageUnavailable
from service.storage.sql import postgres
from service.storage.sql.postgres import DatabaseUnreachable, DatabaseUnusable, Limits

log = structlog.get_logger(__name__)

NOT_FOUND_MESSAGE = "There is no such resource, or it is not for this key."
BUSY_S = 5.0
LONGEST_PAUSE_S = 5.0  # between two looks for a database that is away
MIGRATION_LOCK = 0x5350  # key of the advisory lock; arbitrary, unique in this database
MIGRATIONS = Path(__file__).parents[1] / "migrations"


@dataclass(frozen=True)
class Schema:
    """Server and schema version of a database.

    Attributes:
        server: Name and version of the server.
        revision: Current migration; None before the first.
        newest: The newest migration of this release.
        known: Whether this release knows the database's migration.
        usable: Whether this release can work with these tables, once migrated.
    """

    server: str
    revision: str | None
    newest: str
    known: bool
    usable: bool

    @property
    def current(self) -> bool:
        """Whether the schema is at the newest migration of this release."""
        return self.revision == self.newest


class Database:
    """SQLite or PostgreSQL with read and write transactions.

    Args:
        url: ``sqlite:///…`` or ``postgresql://…``.
        limits: Connection and timeout limits on PostgreSQL.

    Raises:
        DatabaseUnusable: The address cannot be used, or the driver is not installed.
    """

    def __init__(self, url: str, limits: Limits | None = None) -> None:
        parsed = postgres.parse_address(url)
        self.sqlite = parsed.get_backend_name() == "sqlite"
        options: dict[str, Any] = {"json_serializer": _json}
        if self.sqlite:
            if parsed.database and not parsed.database.startswith("file:"):
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            # A connection per thread of the gateway's pool: SQLite connections are cheap, waiting for one is not.
            options |= {"connect_args": {"timeout": BUSY_S, "check_same_thread": False}, "pool_size": 64}
        else:
            options |= postgres.engine_options(parsed, limits or Limits())
        try:
            self.engine: Engine = create_engine(parsed, **options)
        except ImportError:
            raise DatabaseUnusable(
                "The driver for PostgreSQL is not installed: pip install 'skeleton-prompt[server,postgres]'"
            ) from None
        if self.sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        event.listen(self.engine, "before_cursor_execute", _reject_invalid_text)
        self._glances: Connection | None = None
        self._glancing = threading.Lock()

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Read-only transaction; all queries see one snapshot.

        Raises:
            StorageUnavailable: The database does not answer or is locked.
        """
        with _readable_errors(), self.engine.connect() as plain:
            connection = plain
            if not self.sqlite:
                connection = plain.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    def read_nowait(self, query: Select[Any], values: Mapping[str, Any]) -> Sequence[Row[Any]] | None:
        """Rows of one indexed read that never blocks, for use on an event loop.

        On SQLite an indexed read costs less than handing it to another thread. It uses a connection of its own, outside
        any transaction, so every read sees the newest committed state.

        Returns:
            None if the read would block or fails (use ``read``, which waits and raises), or before
            ``enable_nowait_reads`` was called.
        """
        if self._glances is None or not self._glancing.acquire(blocking=False):
            return None
        try:
            return None if self._glances is None else self._glances.execute(query, values).all()
        except (SQLAlchemyError, sqlite3.Error):
            self._close_nowait_connections()
            return None
        finally:
            self._glancing.release()

    def enable_nowait_reads(self) -> None:
        """Open the connection of ``read_nowait`` (SQLite only) if it is closed; may block.

        Failures are not raised: ``read`` reports them to its caller.
        """
        if not self.sqlite or self._glances is not None:
            return
        with self._glancing, contextlib.suppress(SQLAlchemyError, sqlite3.Error):
            if self._glances is None:
                connection = self.engine.connect().execution_options(glance=True)
                connection.detach()
                connection.exec_driver_sql("PRAGMA busy_timeout=0")
                self._glances = connection

    def _close_nowait_connections(self) -> None:
        glances, self._glances = self._glances, None
        if glances is not None:
            with contextlib.suppress(SQLAlchemyError, sqlite3.Error):
                glances.close()

    @contextlib.contextmanager
    def write(self, *, no_timeout: bool = False) -> Iterator[Connection]:
        """Write transaction; SQLite takes the write lock at BEGIN, because a later upgrade would fail immediately.

        PostgreSQL runs writers concurrently: rows that will be changed are read with a locking query, and a tenant's
        row is always locked before rows that belong to it, which excludes deadlocks.

        Args:
            no_timeout: Lift the statement, lock and idle timeouts of PostgreSQL for this transaction.

        Raises:
            StorageFull: The disk is full.
            StorageUnavailable: The database does not answer, is locked or read-only.
        """
        with _readable_errors(), self.engine.connect() as plain:
            connection = plain.execution_options(write=True)
            with connection.begin():
                if no_timeout and not self.sqlite:
                    for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
                        connection.exec_driver_sql(f"SET LOCAL {name} = 0")
                yield connection

    def clock(self, connection: Connection) -> float:
        """Unix time in seconds by the database's clock, which all processes share; leases are compared with it."""
        if self.sqlite:  # one machine
            return time.time()
        return float(connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())").scalar_one())

    def upsert(self, table: Table) -> Any:
        """Dialect-specific INSERT with ON CONFLICT support."""
        return (sqlite if self.sqlite else postgresql).insert(table)

    def migrate(self) -> None:
        """Migrate to the newest schema; idempotent and safe in several processes at once.

        Raises:
            DatabaseUnusable: The schema is incompatible with this release, or belongs to another program.
            StorageUnavailable: The database does not answer, is locked or read-only.
        """
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with self.write(no_timeout=True) as connection:
            if not self.sqlite:
                # Held to the end of the transaction; on SQLite the write lock does the same.
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
            config.attributes["connection"] = connection
            found = MigrationContext.configure(connection).get_current_revision()
            if found is not None and found not in _known_revisions(config):
                if not _is_forward_compatible(found, config):
                    raise DatabaseUnusable(
                        f"The tables at {self.display_name} are at migration {found!r}, which this release does not "
                        f"know and cannot work with (its own is {_newest(config)}): install the release that made it, "
                        "or name another database"
                    )
                # A newer release was here. Its migrations only add, with defaults: a package can be rolled back.
                log.warning("a newer release has used this database; going on with its schema", revision=found)
                return
            command.upgrade(config, "head")

    def prepare(self, patience_s: float = 0.0, pause: Callable[[float], object] = time.sleep) -> None:
        """Migrate at process start; errors are written for the operator.

        Args:
            patience_s: Seconds to wait for an unreachable database.
            pause: Sleeps that many seconds; a true result ends the waiting, because the process is stopping.

        Raises:
            DatabaseUnusable: The database cannot be reached or used.
            StorageUnavailable: SQLite is locked or read-only.
        """
        deadline, wait = time.monotonic() + patience_s, 0.25
        while True:
            try:
                self._prepare()
            except DatabaseUnreachable as error:  # noqa: PERF203  # it waits anyway
                left = deadline - time.monotonic()
                if left <= 0:
                    raise
                log.warning("waiting for the database", reason=str(error), seconds_left=round(left, 1))
                if pause(min(wait, left)):
                    raise
                wait = min(2 * wait, LONGEST_PAUSE_S)
            else:
                return

    def _prepare(self) -> None:
        self.schema()
        try:
            self.migrate()
        except DBAPIError as error:
            raise self._trouble(error) from None
        except StorageUnavailable as error:
            if self.sqlite:
                raise
            raise DatabaseUnreachable(f"PostgreSQL at {self.display_name}: {error.detail}") from None

    def schema(self) -> Schema:
        """Server and schema version. Changes nothing.

        Raises:
            DatabaseUnusable: The server does not answer or refuses the login.
        """
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        try:
            with self.engine.connect() as connection:
                version = connection.dialect.server_version_info or ()
                found = MigrationContext.configure(connection).get_current_revision()
        except PoolTimeout:
            raise DatabaseUnusable("All connections to the database are busy.") from None
        except DBAPIError as error:
            raise self._trouble(error) from None
        name = f"{'SQLite' if self.sqlite else 'PostgreSQL'} {'.'.join(str(part) for part in version)}"
        known = found is None or found in _known_revisions(config)
        return Schema(name, found, _newest(config), known, known or _is_forward_compatible(str(found), config))

    @property
    def display_name(self) -> str:
        """Address for messages, without the password."""
        url = self.engine.url
        if self.sqlite:
            return url.database or "memory"
        return f"{url.host or url.query.get('host') or 'local'}:{url.port or 5432}/{url.database or ''}"

    def _trouble(self, error: DBAPIError) -> DatabaseUnusable:
        if self.sqlite:
            return DatabaseUnusable(f"SQLite at {self.display_name} cannot be used: {error.orig}")
        return postgres.explain(error, self.engine.url)

    def checkpoint_wal(self) -> None:
        """Truncate SQLite's write-ahead log, which may still hold erased rows."""
        if not self.sqlite:
            return
        deadline = time.monotonic() + BUSY_S
        with _readable_errors(), self.engine.connect() as connection:
            raw: Any = connection.connection.dbapi_connection
            # A reader may hold the log for a moment; the row says 1 while one does.
            while raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                if time.monotonic() > deadline:
                    log.warning("a reader holds the write-ahead log; the next checkpoint will empty it")
                    return

    def close(self) -> None:
        """Close all connections."""
        with self._glancing:
            self._close_nowait_connections()
        self.engine.dispose()


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver's own BEGIN would come too late; see _begin_sqlite
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        f"busy_timeout={int(BUSY_S * 1000)}",
        "secure_delete=ON",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if not options.get("glance"):
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("write") else "BEGIN")


def _known_revisions(config: Config) -> set[str]:
    return {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}


def _newest(config: Config) -> str:
    return str(ScriptDirectory.from_config(config).get_current_head())


def _is_forward_compatible(revision: str, config: Config) -> bool:
    """Whether a migration of a newer release is additive, so that this release can work with it.

    Migrations are numbered. An incompatible one, and all after it, get another letter before the number; alembic's
    default hash ids do not have this form.
    """
    return revision.rstrip("0123456789") == _newest(config).rstrip("0123456789")


def _reject_invalid_text(
    _connection: Connection, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool
) -> None:
    """Reject text with NUL or lone surrogates: SQLite would store a NUL, PostgreSQL raises."""
    for row in parameters if many else (parameters,):
        for value in row.values() if isinstance(row, dict) else row:
            if isinstance(value, str) and not (value.isprintable() or _is_text(value)):
                if statement.startswith(("INSERT", "UPDATE")):
                    raise InvalidRequest("A text holds a lone surrogate or NUL, which is no Unicode text.")
                raise NotFound(NOT_FOUND_MESSAGE)  # no row can hold it


def _is_text(value: str) -> bool:
    return "\0" not in value and not any("\ud800" <= char <= "\udfff" for char in value)


def _json(value: Any) -> str:
    """JSON valid on both databases: NaN, which Python's json writes, is refused."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


@contextlib.contextmanager
def _readable_errors() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise StorageUnavailable("All connections to the database are busy.", retry_after=1.0) from error
    except sqlite3.OperationalError as error:
        raise StorageUnavailable("The database does not answer or is locked.", retry_after=1.0) from error
    except (OperationalError, InterfaceError, DatabaseError) as error:
        readable = _of_sqlite(error) if isinstance(error.orig, sqlite3.Error) else postgres.as_service_error(error)
        if readable is None:
            raise
        raise readable from error


def _of_sqlite(error: DBAPIError) -> StorageFull | StorageUnavailable | None:
    text = str(error.orig).lower()
    if "full" in text or "no space" in text:
        return StorageFull("There is no room left on the database's disk; nothing was changed.")
    if "readonly" in text or "read-only" in text:
        return StorageUnavailable("The database is read-only; nothing was changed.", retry_after=30.0)
    if isinstance(error, OperationalError | InterfaceError):
        return StorageUnavailable("The database does not answer or is locked.", retry_after=1.0)
    return None
