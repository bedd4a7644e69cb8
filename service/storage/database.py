"""The database: one engine, transactions for reading and for writing, migrations, and errors that users can read."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import structlog
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from service.errors import StorageFull, StorageUnavailable

log = structlog.get_logger(__name__)

BUSY_S = 5.0
MIGRATION_LOCK = 0x5350  # any number that nobody else takes in this database
MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """SQLite or PostgreSQL behind two kinds of transactions.

    Args:
        url: SQLAlchemy address.
    """

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        self.sqlite = parsed.get_backend_name() == "sqlite"
        options: dict[str, Any] = {"pool_pre_ping": not self.sqlite}
        if self.sqlite:
            if parsed.database and not parsed.database.startswith("file:"):
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            # A connection per thread of the gateway's pool: SQLite connections are cheap, waiting for one is not.
            options |= {"connect_args": {"timeout": BUSY_S, "check_same_thread": False}, "pool_size": 64}
        self.engine: Engine = create_engine(parsed, **options)
        if self.sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads.

        Raises:
            StorageUnavailable: The database does not answer or is locked.
        """
        with _readable_errors(), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that writes; on SQLite it takes the write lock at once (a later upgrade would fail at once).

        Raises:
            StorageFull: There is no room.
            StorageUnavailable: The database does not answer, is locked or read-only.
        """
        with _readable_errors(), self.engine.connect() as plain:
            connection = plain.execution_options(write=True)
            with connection.begin():
                yield connection

    def migrate(self) -> None:
        """Bring the schema up to date; safe to run at every start, and at once in several processes."""
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with self.write() as connection:
            if connection.dialect.name == "postgresql":
                # Held to the end of the transaction; on SQLite the write lock does the same.
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
            config.attributes["connection"] = connection
            found = MigrationContext.configure(connection).get_current_revision()
            known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
            if found is not None and found not in known:
                # A newer release was here. Migrations only add, with defaults, so that a package can be rolled back.
                log.warning("a newer release has used this database; going on with its schema", revision=found)
                return
            command.upgrade(config, "head")

    def forget_erased(self) -> None:
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
    write = connection.get_execution_options().get("write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextlib.contextmanager
def _readable_errors() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise StorageUnavailable("All connections to the database are busy.", retry_after=1.0) from error
    except sqlite3.OperationalError as error:
        raise StorageUnavailable("The database does not answer or is locked.", retry_after=1.0) from error
    except (OperationalError, InterfaceError, DatabaseError) as error:
        text = str(error.orig).lower() if error.orig is not None else ""
        if "full" in text or "no space" in text:
            raise StorageFull("There is no room left on the database's disk; nothing was changed.") from error
        if "readonly" in text or "read-only" in text:
            raise StorageUnavailable("The database is read-only; nothing was changed.", retry_after=30.0) from error
        if isinstance(error, OperationalError | InterfaceError):
            raise StorageUnavailable("The database does not answer or is locked.", retry_after=1.0) from error
        raise
