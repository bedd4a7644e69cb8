"""The truth: SQL for what is known, blobs for what is large; a tenant's data is reached by its repository alone."""

from __future__ import annotations

from service.settings import Settings, ensure_secrets
from service.storage.admin import AdminRepository
from service.storage.backbones import BackboneGone, BackboneRepository
from service.storage.base import Scope
from service.storage.blobs import BlobStore
from service.storage.clips import ClipRepository
from service.storage.database import Database
from service.storage.jobs import JobRepository
from service.storage.keys import KeyHasher, KeyRepository
from service.storage.prompts import PromptRepository
from service.storage.records import (
    ClipRecord,
    JobEvent,
    JobKind,
    JobRecord,
    JobState,
    KeyRecord,
    Page,
    Principal,
    PromptRecord,
    Resolved,
    StoredAnswer,
    TenantRecord,
    UsageDay,
)
from service.storage.retunes import RetuneRepository
from service.storage.usage import UsageRepository

__all__ = [
    "BackboneGone",
    "BackboneRepository",
    "ClipRecord",
    "JobEvent",
    "JobKind",
    "JobRecord",
    "JobState",
    "KeyRecord",
    "Page",
    "Principal",
    "PromptRecord",
    "Resolved",
    "Storage",
    "StoredAnswer",
    "TenantRecord",
    "TenantRepository",
    "UsageDay",
]


class TenantRepository(
    KeyRepository, ClipRepository, JobRepository, RetuneRepository, PromptRepository, UsageRepository
):
    """Everything of one tenant, and nothing of any other. Making one asks the database nothing."""

    def __init__(self, scope: Scope, hasher: KeyHasher, lease_s: float) -> None:
        self._scope = scope
        self._hasher = hasher
        self._lease_s = lease_s
        self._jobs = self

    @property
    def tenant(self) -> str:
        """Whose repository it is."""
        return self._scope.tenant


class Storage:
    """Database and blobs together; safe to use from many threads."""

    def __init__(self, database: Database, blobs: BlobStore, hasher: KeyHasher, admin_key: str, lease_s: float) -> None:
        self.database = database
        self.blobs = blobs
        self._hasher = hasher
        self._lease_s = lease_s
        self.backbones = BackboneRepository(database, blobs)
        self.admin = AdminRepository(database, blobs, hasher, hasher.digest(admin_key))

    @classmethod
    def open(cls, settings: Settings) -> Storage:
        """Open what the settings name, embedded defaults and secrets filled in; changes no schema.

        Raises:
            OSError: The data folder cannot be written to.
        """
        settings = settings.resolved()
        secrets = ensure_secrets(settings)
        return cls(
            Database(str(settings.database_url)),
            BlobStore(str(settings.blob_url)),
            KeyHasher(secrets.secret.get_secret_value()),
            secrets.admin_key.get_secret_value(),
            settings.job_lease_s,
        )

    def tenant(self, tenant_id: str) -> TenantRepository:
        """The repository of a tenant, whether or not there is one of this id."""
        return TenantRepository(Scope(tenant_id, self.database, self.blobs), self._hasher, self._lease_s)

    def migrate(self) -> None:
        """Bring the schema up to date."""
        self.database.migrate()

    def close(self) -> None:
        """Close all connections."""
        self.database.close()
