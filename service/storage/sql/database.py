"""The database: one engine, transactions for reading and for writing, migrations, and errors that users can read."""

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
MIGRATION_LOCK = 0x5350  # any number that nobody else takes in this database
MIGRATIONS = Path(__file__).parents[1] / "migrations"


@dataclass(frozen=True)
class Schema:
    """What a database is, and how far its tables are.

    Attributes:
        server: Its name and version.
        revision: Its migration; None before the first.
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
        """Whether the tables are those of this release."""
        return self.revision == self.newest


class Database:
    """SQLite or PostgreSQL behind two kinds of transactions.

    Args:
        url: ``sqlite:///…`` or ``postgresql://…``.
        limits: What this process may take of PostgreSQL.

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
        """A transaction that only reads, and reads one state of the database however often it asks.

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
        """The rows of one quick read that waits for nothing and nobody, so that an event loop may ask.

        SQLite reads a row by its index in a fraction of what it takes to hand the question to another thread. It is
        asked over a connection kept for this, outside any transaction, so that every read sees the newest state.

        Returns:
            None where it would have to wait, or cannot read: ``read`` waits, and says what is wrong. Also until
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
        """Open the connection that ``read_nowait`` needs, on SQLite and if it is not open; may wait.

        Where it cannot be opened nothing is said: whoever needs an answer reads, and is told.
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
        """A transaction that writes; on SQLite it takes the write lock at once (a later upgrade would fail at once).

        PostgreSQL lets many write at once: a row that is read to be changed has to be read by a locking query, and
        whoever locks a tenant and something of it locks the tenant first, so that nobody waits in a circle.

        Args:
            no_timeout: Lift the statement, lock and idle timeouts of PostgreSQL for this transaction.

        Raises:
            StorageFull: There is no room.
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
        """Seconds since 1970 by a clock that all processes share: leases must not hang on two machines agreeing."""
        if self.sqlite:  # one machine
            return time.time()
        return float(connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())").scalar_one())

    def upsert(self, table: Table) -> Any:
        """An insert that can say what to do where the row is there already."""
        return (sqlite if self.sqlite else postgresql).insert(table)

    def migrate(self) -> None:
        """Bring the schema up to date; safe to run at every start, and at once in several processes.

        Raises:
            DatabaseUnusable: The schema is of a release that this one cannot live with, or of another program.
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
        """Bring the schema up to date at the start of a process, with errors for who started it.

        Args:
            patience_s: How long to wait for a database that does not answer yet, in seconds.
            pause: Waits that many seconds; true means that the process shall end, and so the waiting does.

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
        """What answers, and how far its tables are. Changes nothing.

        Raises:
            DatabaseUnusable: Nothing answers, or it lets nobody in.
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
        """Where it is, for people; without the password."""
        url = self.engine.url
        if self.sqlite:
            return url.database or "memory"
        return f"{url.host or url.query.get('host') or 'local'}:{url.port or 5432}/{url.database or ''}"

    def _trouble(self, error: DBAPIError) -> DatabaseUnusable:
        if self.sqlite:
            return DatabaseUnusable(f"SQLite at {self.display_name} cannot be used: {error.orig}")
        return postgres.explain(error, self.engine.url)

    def checkpoint_wal(self) -> None:
        """Take what was erased out of SQLite's write-ahead log, too."""
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
    """Whether a migration of a newer release only adds to what this one knows.

    Migrations are numbered. One that older releases cannot live with gets another letter before its number, and so do
    all behind it; the hash that other programs call theirs by has no such form.
    """
    return revision.rstrip("0123456789") == _newest(config).rstrip("0123456789")


def _reject_invalid_text(
    _connection: Connection, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool
) -> None:
    """Refuse text that is none before a database sees it: SQLite would keep a NUL, PostgreSQL breaks off."""
    for row in parameters if many else (parameters,):
        for value in row.values() if isinstance(row, dict) else row:
            if isinstance(value, str) and not (value.isprintable() or _is_text(value)):
                if statement.startswith(("INSERT", "UPDATE")):
                    raise InvalidRequest("A text holds a lone surrogate or NUL, which is no Unicode text.")
                raise NotFound(NOT_FOUND_MESSAGE)  # no row can hold it


def _is_text(value: str) -> bool:
    return "\0" not in value and not any("\ud800" <= char <= "\udfff" for char in value)


def _json(value: Any) -> str:
    """JSON that both databases take: SQLite would keep the NaN of Python's json, PostgreSQL refuses it."""
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
