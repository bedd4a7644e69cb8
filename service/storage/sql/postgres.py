"""PostgreSQL: address, connection pool, error translation.

Messages name host, port, database, user and the server's own message, never the password.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import URL
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError

from service.errors import ServiceError, StorageFull, StorageUnavailable

VARIABLE = "SKELETON_PROMPT_DATABASE_URL"
DRIVER = "postgresql+psycopg"
IDLE_S = 60.0  # a transaction whose process hangs must not keep its locks for ever
RECYCLE_S = 1800  # below what firewalls and load balancers allow an idle connection

# What libpq or the server say when a connection cannot be made, what that means, and what to do about it.
REFUSALS = (
    ("password authentication failed", "refused the password", f"correct it in {VARIABLE}, PGPASSWORD or ~/.pgpass"),
    ("no password supplied", "wants a password", f"give it in {VARIABLE}, PGPASSWORD or ~/.pgpass"),
    ("no pg_hba.conf entry", "does not let this machine or user in", "add a line to its pg_hba.conf"),
    ("role ", "does not know the user", "create it, or correct the user in the address"),
    ("database ", "has no such database", "create it: createdb NAME"),
    ("too many", "has no free connection", "raise its max_connections or lower SKELETON_PROMPT_DATABASE_CONNECTIONS"),
    ("starting up", "is just starting", "try again in a moment"),
    ("connection refused", "does not answer", "start it, or correct host and port in the address"),
    ("no such file", "does not answer", "start it, or correct host and port in the address"),
    ("timeout", "does not answer", "see whether the network lets this machine reach it"),
    ("resolve", "cannot be found", "correct the host in the address"),
    ("not known", "cannot be found", "correct the host in the address"),
    ("ssl", "does not agree about TLS", "see sslmode and sslrootcert in the address"),
)
# Those of them that may pass without anybody's doing, as when all parts of a machine park start at once.
PASSING = ("has no free connection", "is just starting", "does not answer", "cannot be found")


@dataclass(frozen=True)
class Limits:
    """Limits of one process on PostgreSQL.

    Attributes:
        connections: Size of the connection pool.
        connect_s: Connect timeout in seconds.
        statement_s: Statement timeout in seconds.
        lock_s: Lock timeout in seconds; also the wait for a free connection of the pool.
    """

    connections: int = 16
    connect_s: float = 5.0
    statement_s: float = 30.0
    lock_s: float = 5.0


class DatabaseUnusable(RuntimeError):
    """The configured database cannot be used; the message is one line for the operator, without a password."""


class DatabaseUnreachable(DatabaseUnusable):
    """The database does not answer at the moment; retrying may help."""


def parse_address(url: str) -> URL:
    """Parse a database URL and set the driver.

    Raises:
        DatabaseUnusable: The URL is malformed or names an unsupported database.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # which would repeat the address, password and all
        raise DatabaseUnusable(
            f"{VARIABLE} cannot be read as an address; it should look like postgresql://user@host:5432/name, "
            "with special characters of the password percent-encoded"
        ) from None
    if parsed.drivername in ("postgres", "postgresql", DRIVER):
        return parsed.set(drivername=DRIVER)
    if parsed.get_backend_name() == "sqlite":
        return parsed
    raise DatabaseUnusable(f"{VARIABLE} begins with {parsed.drivername}://; postgresql:// and sqlite:/// are supported")


def engine_options(url: URL, limits: Limits) -> dict[str, Any]:
    """Engine options of the pool; options in the URL take precedence.

    Args:
        url: The address.
        limits: Limits of this process.
    """
    timeouts = {
        "statement_timeout": limits.statement_s,
        "lock_timeout": limits.lock_s,
        "idle_in_transaction_session_timeout": IDLE_S,
    }
    connect: dict[str, Any] = {
        "connect_timeout": max(1, round(limits.connect_s)),  # libpq takes whole seconds
        "application_name": "skeleton-prompt",
        # A server that vanished without a word is noticed within half a minute.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,
        "options": " ".join(f"-c {name}={int(seconds * 1000)}" for name, seconds in timeouts.items()),
    }
    return {
        "connect_args": {name: value for name, value in connect.items() if name not in url.query},
        "isolation_level": "READ COMMITTED",  # what the row locks are written for, whatever the server's default
        "pool_size": limits.connections,
        "max_overflow": 0,
        "pool_timeout": limits.lock_s,
        "pool_pre_ping": True,
        "pool_recycle": RECYCLE_S,
        "pool_use_lifo": True,  # so that those beyond the need grow old and are recycled
    }


def as_service_error(error: DBAPIError) -> ServiceError | None:
    """The service error of a driver error; None if the database itself did not fail.

    Decided by SQLSTATE (PostgreSQL manual, appendix A): messages are localised and may contain values.
    """
    state = str(getattr(error.orig, "sqlstate", None) or "")
    if state == "53100":
        return StorageFull("There is no room left on the database's disk; nothing was changed.")
    if state == "25006":  # a standby, as after a failover
        return StorageUnavailable("The database is read-only; nothing was changed.", retry_after=30.0)
    if state in ("42P01", "42703"):  # no such table or column
        return StorageUnavailable("The database has not been migrated yet.", retry_after=5.0)
    # 08 connection, 40 deadlock, 53 resources, 55P03 lock timeout, 57 shutdown or cancelled, 58 its disk
    away = state[:2] in ("08", "40", "53", "57", "58") or state == "55P03"
    if away or (not state and isinstance(error, (OperationalError, InterfaceError))):
        return StorageUnavailable("The database does not answer or is locked.", retry_after=1.0)
    return None


def explain(error: DBAPIError, url: URL) -> DatabaseUnusable:
    """One line for the operator: why the database cannot be used."""
    host = url.host or url.query.get("host") or "the default host"
    place = f"PostgreSQL at {host}:{url.port or 5432} (database {url.database or '-'}, user {url.username or '-'})"
    said = " ".join(str(error.orig).split())
    if getattr(error.orig, "sqlstate", None) == "42501":
        return DatabaseUnusable(f"{place} does not let this user do that ({said}): grant it CREATE on the schema")
    for words, meaning, advice in REFUSALS:
        if words in said.lower():
            kind = DatabaseUnreachable if meaning in PASSING else DatabaseUnusable
            return kind(f"{place} {meaning}: {advice}. It said: {_last(said)}")
    if as_service_error(error) is not None and getattr(error.orig, "sqlstate", None):
        return DatabaseUnreachable(f"{place} cannot be used now. It said: {_last(said)}")
    return DatabaseUnusable(f"{place} cannot be used. It said: {_last(said)}")


def _last(said: str, most: int = 200) -> str:
    # Behind "FATAL:" is what matters; before it libpq lists the addresses that it tried.
    return said.rsplit("FATAL:", 1)[-1].strip()[:most]
