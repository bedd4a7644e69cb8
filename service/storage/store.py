"""Database and blobs together, and what belongs to one tenant of them."""

from __future__ import annotations

import time
from collections.abc import Callable

from service.settings import Settings, ensure_secrets
from service.storage.blobs.filesystem import BlobStore
from service.storage.blobs.s3 import blobs_of
from service.storage.repositories.backbone_upgrades import BackboneUpgradeRepository
from service.storage.repositories.backbones import BackboneRepository
from service.storage.repositories.clips import ClipRepository
from service.storage.repositories.job_dispatch import JobDispatchRepository
from service.storage.repositories.jobs import JobLimits, JobRepository
from service.storage.repositories.keys import KeyHasher, KeyRepository
from service.storage.repositories.prompts import PromptRepository
from service.storage.repositories.quotas import QuotaRepository
from service.storage.repositories.scope import TenantScope
from service.storage.repositories.tenants import AdminRepository
from service.storage.repositories.usage import UsageRepository
from service.storage.repositories.watching import WatchRepository
from service.storage.sql.database import Database, Schema
from service.storage.sql.postgres import Limits


class TenantRepository(
    KeyRepository,
    ClipRepository,
    JobRepository,
    BackboneUpgradeRepository,
    PromptRepository,
    UsageRepository,
    QuotaRepository,
):
    """Everything of one tenant, and nothing of any other. Making one asks the database nothing."""

    def __init__(self, scope: TenantScope, hasher: KeyHasher, limits: JobLimits) -> None:
        self._scope = scope
        self._hasher = hasher
        self._limits = limits
        self._jobs = self

    @property
    def tenant(self) -> str:
        """Whose repository it is."""
        return self._scope.tenant


class Storage:
    """Database and blobs together; safe to use from many threads."""

    def __init__(
        self, database: Database, blobs: BlobStore, hasher: KeyHasher, admin_key: str, limits: JobLimits
    ) -> None:
        self.database = database
        self.blobs = blobs
        self._hasher = hasher
        self._limits = limits
        self.dispatch = JobDispatchRepository(database)
        self.backbones = BackboneRepository(database, blobs)
        self.watching = WatchRepository(database)
        self.admin = AdminRepository(database, blobs, hasher, hasher.digest(admin_key))

    @classmethod
    def open(cls, settings: Settings) -> Storage:
        """Open what the settings name, embedded defaults and secrets filled in; changes no schema.

        Raises:
            OSError: The data folder cannot be written to.
            DatabaseUnusable: The address of the database cannot be used.
            ValueError: The address of the blobs makes no sense, or the extra for it is not installed.
        """
        settings = settings.resolved()
        secrets = ensure_secrets(settings)
        return cls(
            Database(str(settings.database_url), _limits(settings)),
            blobs_of(settings),
            KeyHasher(secrets.secret.get_secret_value()),
            secrets.admin_key.get_secret_value(),
            JobLimits(
                lease_s=settings.job_lease_seconds,
                max_queued=settings.max_queued_jobs,
                refines=settings.temporal_tuning_seconds > 0,
            ),
        )

    def tenant(self, tenant_id: str) -> TenantRepository:
        """The repository of a tenant, whether or not there is one of this id."""
        return TenantRepository(TenantScope(tenant_id, self.database, self.blobs), self._hasher, self._limits)

    def migrate(self) -> None:
        """Bring the schema up to date."""
        self.database.migrate()

    @property
    def database_name(self) -> str:
        """Where the database is, for people; without a password."""
        return self.database.display_name

    def schema(self) -> Schema:
        """What database answers, and how far its tables are. Changes nothing.

        Raises:
            DatabaseUnusable: None answers, or it lets nobody in.
        """
        return self.database.schema()

    def prepare(self, patience_s: float = 0.0, pause: Callable[[float], object] = time.sleep) -> None:
        """The same at the start of a process; see ``Database.prepare``.

        Raises:
            DatabaseUnusable: The database cannot be reached or used.
        """
        self.database.prepare(patience_s, pause)

    def close(self) -> None:
        """Close all connections."""
        self.database.close()


def _limits(settings: Settings) -> Limits:
    return Limits(
        settings.database_connections,
        settings.database_connect_seconds,
        settings.database_statement_seconds,
        settings.database_lock_seconds,
    )
