"""Every setting of the service, from the environment; docs/settings.md lists them and a test holds the two together."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from service.redis_client import TLS, check_pem, with_tls

MIN_KEY, MAX_KEY = 16, 256
KIB, MIB = 2**10, 2**20

Bytes = Annotated[int, Field(ge=KIB, le=4 * 2**30)]
EmptyIsNone = BeforeValidator(lambda value: None if value == "" else value)

# Settings that had another name in an earlier release. The old name is still read, with a DeprecationWarning.
RENAMED = {
    "old_backbones": "max_old_backbones",
    "retune_jobs": "max_backbone_upgrade_jobs",
    "queue_size": "max_queue_rows",
    "queue_seconds": "max_queue_wait_seconds",
    "batch_size": "max_batch_size",
    "temporal_seconds": "temporal_tuning_seconds",
    "predict_deadline_s": "predict_deadline_seconds",
    "s3_timeout_s": "s3_timeout_seconds",
    "job_lease_s": "job_lease_seconds",
}


class RenamedSettings(PydanticBaseSettingsSource):
    """Settings source that reads the environment variables of ``RENAMED`` under their old names."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Not used: values are read by name in ``__call__``."""
        return field.get_default(), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Values by the new names; a variable under its new name, read before this source, has precedence."""
        found: dict[str, Any] = {}
        for old, new in RENAMED.items():
            value = os.environ.get(f"SKELETON_PROMPT_{old.upper()}")
            if value is not None:
                message = f"SKELETON_PROMPT_{old.upper()} was renamed to SKELETON_PROMPT_{new.upper()}"
                warnings.warn(message, DeprecationWarning, stacklevel=2)
                found[new] = value
        return found


class Settings(BaseSettings):
    """Settings; the environment variable of each is its name in capitals behind ``SKELETON_PROMPT_``."""

    model_config = SettingsConfigDict(
        env_prefix="SKELETON_PROMPT_", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, then the environment under old names."""
        return init_settings, env_settings, RenamedSettings(settings_cls), dotenv_settings, file_secret_settings

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    data_dir: Path = Field(Path("data"), description="Folder of everything durable that the embedded parts keep.")
    admin_key: Annotated[SecretStr | None, EmptyIsNone] = Field(
        None, description="The admin key, 16 to 256 printable characters; generated into the data folder when unset."
    )
    secret: Annotated[SecretStr | None, EmptyIsNone] = Field(
        None, description="Keys the hashes of all keys; every replica needs the same. Generated when unset."
    )
    metrics_key: Annotated[SecretStr | None, EmptyIsNone] = Field(
        None, description="A key that may read `/metrics` and nothing else, for Prometheus; the admin key always may."
    )
    engine: Literal["embedded", "torchserve"] = Field(
        "embedded", description="Which engine answers: `embedded`, a part of the gateway, or `torchserve` beside it."
    )
    engine_processes: int = Field(
        1,
        ge=0,
        le=256,
        description="Processes of the embedded engine, one for each core that it may use; 0: in the gateway.",
    )
    engine_url: Annotated[str | None, EmptyIsNone] = Field(
        None, description="TorchServe's inference addresses, with commas; `serve` starts a local one when unset."
    )
    redis_url: Annotated[str | None, EmptyIsNone] = Field(
        None,
        repr=False,  # it may hold a password
        description="Redis for job messages and hot prompts, `rediss://user:password@host:port` with TLS; `serve` "
        "starts a private one when unset.",
    )
    redis_ca_file: Annotated[Path | None, EmptyIsNone] = Field(
        None,
        description="PEM file of the authorities that Redis's certificate may be from; those of the system if unset.",
    )
    redis_cert_file: Annotated[Path | None, EmptyIsNone] = Field(
        None, description="PEM file of the certificate to show to Redis, where it asks for one."
    )
    redis_key_file: Annotated[Path | None, EmptyIsNone] = Field(
        None, description="PEM file of that certificate's key, without a password; unset when both are in one file."
    )
    redis_check_hostname: bool = Field(
        True, description="Whether Redis's certificate must be for the host of the address."
    )
    database_url: Annotated[str | None, EmptyIsNone] = Field(
        None,
        repr=False,  # it may hold a password
        description="`postgresql://user@host/name` or `sqlite:///file`; a SQLite file in the data folder when unset.",
    )
    database_connections: int = Field(
        16, ge=2, le=1000, description="Most connections of a process to PostgreSQL; requests beyond wait for one."
    )
    database_connect_seconds: float = Field(
        5.0, ge=1, le=600, description="Seconds that a connection to PostgreSQL may take."
    )
    database_statement_seconds: float = Field(
        30.0, ge=0.1, le=3600, description="Seconds after which PostgreSQL breaks a statement off."
    )
    database_lock_seconds: float = Field(
        5.0, ge=0.1, le=600, description="Seconds to wait for a lock in PostgreSQL, or for a free connection to it."
    )
    database_wait_seconds: float = Field(
        60.0, ge=0, le=86_400, description="Seconds that a start waits for PostgreSQL to answer before it gives up."
    )
    blob_url: Annotated[str | None, EmptyIsNone] = Field(
        None,
        description="Where clips and prompts go: a folder or `s3://bucket/prefix`; below the data folder when unset.",
    )
    s3_endpoint_url: Annotated[str | None, EmptyIsNone] = Field(
        None, description="Address of an S3 server that is not AWS, such as `https://minio:9000`; `AWS_*` say the rest."
    )
    s3_timeout_seconds: float = Field(
        15.0, gt=0, le=600, description="Seconds after which one call to S3, with its retries, is given up."
    )
    backbone: str = Field("edge", description="The frozen backbone: a name that ships, or the path of a file.")
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="Where the engine computes: `cpu`, `cuda`, `cuda:N`, or `auto`, a GPU if there is one.",
    )
    runtime: Literal["auto", "torch", "openvino"] = Field(
        "auto",
        description="What computes the backbone on a CPU: `torch`, `openvino`, or `auto`, OpenVINO if it is installed.",
    )
    cuda_graphs: bool = Field(
        False, description="On a GPU, record the frozen pass once for each size of batch and replay it."
    )
    max_old_backbones: int = Field(
        2, ge=1, le=16, description="Most older backbones in memory at once, for prompts made on them."
    )
    max_backbone_upgrade_jobs: int = Field(
        4, ge=0, le=1000, description="Most open jobs that tune again for a new backbone; 0 creates none."
    )
    workers: int = Field(1, ge=0, le=64, description="Training workers that `serve` starts.")
    worker_metrics_port: Annotated[int | None, EmptyIsNone] = Field(
        None,
        ge=1,
        le=65535,
        description="Port on which a training worker shows its metrics to Prometheus; none when unset.",
    )
    max_header_bytes: int = Field(
        32 * KIB, ge=KIB, le=MIB, description="Most bytes of a request's address and headers together."
    )
    header_seconds: float = Field(
        10.0, gt=0, le=600, description="Seconds in which the headers of a request must arrive."
    )
    min_body_rate: int = Field(
        1024, ge=0, le=MIB, description="Least bytes a second of a body; slower requests end after 10 seconds."
    )
    max_connections: int = Field(
        2048, ge=1, le=100_000, description="Most connections open at once; more are refused with 503."
    )
    max_predict_bytes: Bytes = Field(8 * MIB, description="Largest body of a predict request, unpacked, in bytes.")
    max_tune_bytes: Bytes = Field(256 * MIB, description="Largest body of a tune or clips request, unpacked, in bytes.")
    max_frames: int = Field(2048, ge=2, le=100_000, description="Most frames of a clip.")
    max_joints: int = Field(256, ge=1, le=4096, description="Most joints of a clip.")
    max_people: int = Field(16, ge=1, le=256, description="Most people of a clip.")
    max_batch_clips: int = Field(256, ge=1, le=10_000, description="Most clips of a batch request.")
    max_tune_clips: int = Field(10_000, ge=1, le=1_000_000, description="Most clips of a tune or clips request.")
    max_windows: int = Field(
        64, ge=1, le=100_000, description="Most windows of 10 seconds times people of a clip: what predicting it costs."
    )
    max_tenant_requests: Annotated[int | None, EmptyIsNone] = Field(
        None, ge=1, description="Most predict requests of a tenant at once; no limit when unset."
    )
    max_tenant_uploads: int = Field(4, ge=1, description="Most tune and clips requests of a tenant at once.")
    max_tenant_clips: Annotated[int | None, EmptyIsNone] = Field(
        None, ge=1, description="Most stored clips of a tenant; no limit when unset."
    )
    max_tenant_bytes: Annotated[int | None, EmptyIsNone] = Field(
        None, ge=MIB, description="Most bytes of stored clips of a tenant; no limit when unset."
    )
    max_tenant_prompts: Annotated[int | None, EmptyIsNone] = Field(
        None, ge=1, description="Most prompt versions of a tenant, unfinished jobs included; no limit when unset."
    )
    max_tenant_event_streams: int = Field(16, ge=1, description="Most open event streams of a tenant.")
    max_event_streams: int = Field(256, ge=1, description="Most open event streams of a gateway.")
    min_free_bytes: int = Field(
        64 * MIB, ge=0, description="Disk that uploads leave free for the service itself; less answers 507."
    )
    max_json_depth: int = Field(16, ge=6, le=256, description="Deepest nesting of a JSON or msgpack body.")
    max_queue_rows: int = Field(
        256, ge=1, le=100_000, description="Rows that may wait for the engine; more are refused."
    )
    max_queue_wait_seconds: float = Field(
        0.5,
        gt=0,
        le=600,
        description="Most seconds that a row may wait for the engine; more is refused.",
    )
    max_batch_size: int = Field(16, ge=1, le=1024, description="Most rows of one forward pass.")
    predict_deadline_seconds: float = Field(10.0, gt=0, le=600, description="Time limit of a prediction, in seconds.")
    prompt_cache_entries: int = Field(1024, ge=1, description="Most prompts kept in the engine's memory.")
    prompt_cache_bytes: int = Field(512 * MIB, ge=MIB, description="Most bytes of prompts kept in the engine's memory.")
    rate_limit: Annotated[str | None, EmptyIsNone] = Field(
        None,
        description="Work per tenant, such as `100/second`, in windows of 10 seconds times people; none when unset.",
    )
    job_lease_seconds: float = Field(
        10.0, ge=1, le=600, description="Seconds without heartbeat after which a worker loses its job."
    )
    max_queued_jobs: Annotated[int | None, EmptyIsNone] = Field(
        None, ge=1, le=10_000, description="Most queued tuning jobs of a tenant; any number when unset."
    )
    tune_max_seconds: float = Field(
        900.0, ge=5, le=86_400, description="Longest that one tuning job may run, in seconds."
    )
    temporal_tuning_seconds: float = Field(
        120.0,
        ge=0,
        le=3600,
        description="Seconds of a tuning job for the temporal part of its prompt, at the most; 0 leaves it out.",
    )
    shutdown_seconds: float = Field(25.0, ge=0, le=600, description="Seconds that requests in flight get on SIGTERM.")
    datasets: Annotated[Path | None, EmptyIsNone] = Field(
        None, description="Folder of labelled datasets for `evaluate` and tests."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level of log lines.")
    log_json: bool = Field(False, description="Log one JSON object a line instead of text.")

    @field_validator("admin_key", "secret", "metrics_key")
    @classmethod
    def _printable(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        text = value.get_secret_value()
        if not (MIN_KEY <= len(text) <= MAX_KEY and text.isprintable() and text == text.strip()):
            raise ValueError(f"must have {MIN_KEY} to {MAX_KEY} printable characters")
        return value

    @field_validator("engine_url")
    @classmethod
    def _addresses(cls, value: str | None) -> str | None:
        for url in (value or "").split(",") if value else []:
            if not re.fullmatch(r"https?://[^/?#\s]+/?", url.strip()):
                raise ValueError("must be addresses such as http://10.0.0.5:8080, with commas between them")
        return value

    @field_validator("redis_ca_file", "redis_cert_file", "redis_key_file")
    @classmethod
    def _usable(cls, value: Path | None, given: ValidationInfo) -> Path | None:
        """Refused at the start: else a wrong file shows as a Redis that is away, and a clear line as a secured one."""
        if value is None:
            return None
        if not (given.data.get("redis_url") or "").startswith(TLS):
            raise ValueError("goes with a REDIS_URL that begins with rediss://")
        certificate = given.data.get("redis_cert_file")
        if given.field_name == "redis_ca_file":
            check_pem(value, authorities=True)
        elif given.field_name == "redis_key_file" and certificate is None:
            raise ValueError("goes with the certificate in REDIS_CERT_FILE")
        elif given.field_name == "redis_key_file":
            check_pem(Path(str(certificate)), key=value)
        return value

    @property
    def redis_address(self) -> str | None:
        """The address of Redis with its TLS options, for every client of it."""
        if self.redis_url is None:
            return None
        return with_tls(
            self.redis_url,
            ca=self.redis_ca_file,
            certificate=self.redis_cert_file,
            key=self.redis_key_file,
            check_hostname=self.redis_check_hostname,
        )

    def resolved(self) -> Settings:
        """The same settings with the embedded defaults filled in, below an absolute data folder."""
        data_dir = self.data_dir.expanduser().resolve()
        return self.model_copy(
            update={
                "data_dir": data_dir,
                "database_url": self.database_url or f"sqlite:///{data_dir / 'skeleton-prompt.db'}",
                "blob_url": self.blob_url or str(data_dir / "blobs"),
            }
        )


@dataclass(frozen=True)
class Secrets:
    """What authenticates: the admin key, and the secret that keys the hashes of all tenant keys."""

    admin_key: SecretStr
    secret: SecretStr
    admin_key_generated: bool = False


def ensure_secrets(settings: Settings) -> Secrets:
    """Take the secrets from the settings, else from files in the data folder, which are made with mode 0600 if need be.

    Raises:
        OSError: If the data folder cannot be written to.
    """
    admin_key, made = _secret(settings.admin_key, settings.data_dir / "admin_key", prefix="admin_")
    secret, _ = _secret(settings.secret, settings.data_dir / "secret")
    return Secrets(admin_key, secret, made)


def _secret(given: SecretStr | None, path: Path, *, prefix: str = "") -> tuple[SecretStr, bool]:
    if given is not None:
        return given, False
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = prefix + secrets.token_urlsafe(32)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    made = False
    # Written aside and linked into place: of two processes that start together, both read the first one's.
    if not path.exists():
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(fresh + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(partial, path)
            made = True
        partial.unlink()
    return SecretStr(path.read_text().strip()), made
