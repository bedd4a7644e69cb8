"""Table definitions. Times are Unix time in seconds as floats, identical on SQLite and PostgreSQL."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s",
    }
)
Serial = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only for INTEGER

tenants = Table(
    "tenants",
    metadata,
    Column("id", String(63), primary_key=True),
    Column("name", String(128)),
    Column("created", Float, nullable=False),
    Column("active_version", Integer),
    Column("last_version", Integer, nullable=False, default=0),
)
keys = Table(
    "keys",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("tenant", String(63), nullable=False, index=True),
    Column("digest", LargeBinary(32), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("created", Float, nullable=False),
)
clips = Table(
    "clips",
    metadata,
    Column("tenant", String(63), primary_key=True),
    Column("id", String(32), primary_key=True),
    Column("client_id", String(128)),
    Column("label", Text),
    Column("background", Boolean, nullable=False),
    Column("group", Text),
    Column("layout", Text, nullable=False),
    Column("frames", Integer, nullable=False),
    Column("people", Integer, nullable=False),
    Column("fps", Float, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("created", Float, nullable=False),
    Column("source", String(16), nullable=False),
)
jobs = Table(
    "jobs",
    metadata,
    Column("tenant", String(63), primary_key=True),
    Column("id", String(32), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("progress", Float, nullable=False),
    Column("step", String(32), nullable=False),
    Column("message", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("token", Integer, nullable=False),
    Column("worker", String(128)),
    Column("lease_until", Float),
    Column("sent", Float),
    Column("created", Float, nullable=False),
    Column("started", Float),
    Column("finished", Float),
    Column("error", Text),
    Column("version", Integer),
    Column("activated", Boolean, nullable=False),
    Column("reason", Text),
    Column("options", JSON, nullable=False),
    Column("clips", JSON, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("kind", String(16), nullable=False, server_default="tune"),
    Column("source", Integer),
    Column("target", String(64)),
    Column("deadline", Float),  # when the attempt must have ended
    Column("estimate", Float),  # predicted seconds of work
    Column("expected_end", Float),  # of the running attempt
    Column("first_number", Integer),  # reserved for the first version
    Column("first_version", Integer),  # set once it is active
    Index("ix_jobs_state_created", "state", "created"),
    # A version is tuned again on a backbone once; NULLs, which all other jobs have, are never alike.
    Index("ix_jobs_tenant_source_target", "tenant", "source", "target", unique=True),
)
job_rates = Table(
    "job_rates",
    metadata,
    Column("phase", String(32), primary_key=True),
    Column("seconds_per_unit", Float, nullable=False),
)
job_events = Table(
    "job_events",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("tenant", String(63), nullable=False),
    Column("job", String(32), nullable=False),
    Column("time", Float, nullable=False),
    Column("state", String(16), nullable=False),
    Column("progress", Float, nullable=False),
    Column("step", String(32), nullable=False),
    Column("message", Text, nullable=False),
    Index("ix_job_events_tenant_job_id", "tenant", "job", "id"),
    sqlite_autoincrement=True,
)
prompts = Table(
    "prompts",
    metadata,
    Column("tenant", String(63), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("backbone_sha256", String(64), nullable=False),
    Column("labels", JSON, nullable=False),
    Column("parameters", Integer, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("created", Float, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("report", JSON, nullable=False),
    Column("job", String(32)),
)
activations = Table(
    "activations",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("tenant", String(63), nullable=False, index=True),
    Column("version", Integer, nullable=False),
    Column("time", Float, nullable=False),
    sqlite_autoincrement=True,
)
usage = Table(
    "usage",
    metadata,
    Column("tenant", String(63), primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("predictions", BigInteger, nullable=False),
    Column("tuning_seconds", Float, nullable=False),
    Column("stored_bytes", BigInteger, nullable=False),
)
idempotency = Table(
    "idempotency",
    metadata,
    Column("tenant", String(63), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", JSON, nullable=False),
    Column("created", Float, nullable=False),
)

backbones = Table(
    "backbones",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("since", Float, nullable=False),
    Column("seen", Float, nullable=False),
)

OF_TENANT = {
    "keys": keys,
    "clips": clips,
    "jobs": jobs,
    "job_events": job_events,
    "prompts": prompts,
    "activations": activations,
    "usage": usage,
    "idempotency": idempotency,
}
