"""Registry of backbones: their files, their use, and which one is the newest.

A file is kept under its own hash before the first prompt may need it, so that it is still there when the package that
brought it is gone. Which backbone is the newest is a matter of time, not of a number: the one that services began to
run on last, among those that any service runs on now. So of two releases that run side by side only one has tenants
tuned again, and rolling a package back is a new beginning like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Join, and_, case, distinct, exists, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from service.storage.blobs.filesystem import BlobStore
from service.storage.blobs.paths import BACKBONES, SHA256, BackboneGone, backbone_blob, read_backbone
from service.storage.records import JobKind, JobState
from service.storage.sql.database import Database
from service.storage.sql.tables import backbones, jobs, prompts, tenants
from skeleton_prompt.model.prompt_file import digest

ALIVE_S = 120.0  # a service says every half minute that it runs
KEEP_UNUSED_S = 24 * 3600.0  # a worker may be about to publish on a backbone that has no prompt yet
OPEN = (JobState.QUEUED.value, JobState.RUNNING.value, JobState.PUBLISHING.value)


@dataclass(frozen=True)
class Waiting:
    """An active version that was made on another backbone than the newest."""

    tenant: str
    version: int


class BackboneRepository:
    """Repository of backbones, across tenants.

    Args:
        database: The database.
        blobs: The blob store.
    """

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    # Files

    def store(self, data: bytes) -> bool:
        """Store a backbone's file under its hash; a damaged file is replaced.

        Returns:
            Whether the file was written.

        Raises:
            StorageFull, StorageUnavailable: It could not be; nothing half-written remains.
        """
        sha256 = digest(data)
        try:
            if digest(self._blobs.read(backbone_blob(sha256))) == sha256:
                return False
        except FileNotFoundError:
            pass
        self._blobs.write(backbone_blob(sha256), data)
        return True

    def read(self, sha256: str) -> bytes:
        """The file of a backbone.

        Raises:
            BackboneGone: It is not there, or damaged.
            StorageUnavailable: The store does not answer.
        """
        return read_backbone(self._blobs, sha256)

    def is_intact(self, sha256: str) -> bool:
        """Whether the file of a backbone exists and matches its hash."""
        try:
            self.read(sha256)
        except BackboneGone:
            return False
        return True

    def kept(self) -> list[str]:
        """Hashes of the backbones whose file is in the store."""
        names = [name.rsplit("/", 1)[-1] for name in self._blobs.names(BACKBONES)]
        found = [name.removesuffix(".safetensors") for name in names if name.endswith(".safetensors")]
        return [name for name in found if SHA256.fullmatch(name)]

    def remove_unused(self) -> list[str]:
        """Delete files used by no prompt and by no service for a day; returns their hashes."""
        removed = []
        for sha256 in self.kept():
            # In the transaction in which it was looked up: on SQLite nothing can be published meanwhile, elsewhere a
            # service that could publish would have been seen.
            with self._database.write() as connection:
                since = self._database.clock(connection) - KEEP_UNUSED_S
                recent = select(backbones.c.sha256).where(backbones.c.sha256 == sha256, backbones.c.seen > since)
                needed = select(prompts.c.version).where(prompts.c.backbone_sha256 == sha256).limit(1)
                wanted = select(jobs.c.id).where(jobs.c.target == sha256, jobs.c.state.in_(OPEN)).limit(1)
                if any(connection.execute(query).first() is not None for query in (recent, needed, wanted)):
                    continue
                self._blobs.delete(backbone_blob(sha256))
            removed.append(sha256)
        return removed

    # Which one is the newest

    def heartbeat(self, sha256: str) -> None:
        """Record that a service runs on a backbone."""
        with self._database.write() as connection:
            now = self._database.clock(connection)
            # Not seen for a while means that services begin to run on it: an upgrade, or a way back.
            begun = case((backbones.c.seen < now - ALIVE_S, now), else_=backbones.c.since)
            change = update(backbones).where(backbones.c.sha256 == sha256).values(since=begun, seen=now)
            if connection.execute(change).rowcount:
                return
            try:
                with connection.begin_nested():
                    connection.execute(insert(backbones).values(sha256=sha256, since=now, seen=now))
            except IntegrityError:  # another service of the same release was first
                connection.execute(change)

    def newest(self, sha256: str) -> bool:
        """Whether this is the newest backbone that any live service runs on."""
        mine = select(backbones.c.since).where(backbones.c.sha256 == sha256).scalar_subquery()
        with self._database.read() as connection:
            alive = backbones.c.seen > self._database.clock(connection) - ALIVE_S
            later = select(backbones.c.sha256).where(backbones.c.sha256 != sha256, backbones.c.since > mine, alive)
            return connection.execute(later).first() is None

    # Who waits

    def waiting(self, target: str) -> dict[str, int]:
        """Number of tenants served by each backbone other than ``target``."""
        query = (
            select(prompts.c.backbone_sha256, func.count(distinct(prompts.c.tenant)))
            .select_from(_active())
            .where(prompts.c.backbone_sha256 != target)
            .group_by(prompts.c.backbone_sha256)
        )
        with self._database.read() as connection:
            return {str(sha256): int(count) for sha256, count in connection.execute(query)}

    def pending(self, target: str, limit: int) -> list[Waiting]:
        """Active versions of other backbones that were never tuned again on this one, of tenants without open jobs."""
        tried = exists().where(
            jobs.c.tenant == prompts.c.tenant, jobs.c.source == prompts.c.version, jobs.c.target == target
        )
        busy = exists().where(jobs.c.tenant == prompts.c.tenant, jobs.c.state.in_(OPEN))
        query = (
            select(prompts.c.tenant, prompts.c.version)
            .select_from(_active())
            .where(prompts.c.backbone_sha256 != target, ~tried, ~busy)
            .order_by(prompts.c.tenant)
            .limit(limit)
        )
        with self._database.read() as connection:
            return [Waiting(row.tenant, row.version) for row in connection.execute(query)]

    def queued(self, target: str) -> int:
        """Number of unfinished jobs for a backbone."""
        query = select(func.count()).select_from(jobs).where(jobs.c.target == target, jobs.c.state.in_(OPEN))
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def superseded(self, target: str) -> Sequence[tuple[str, str]]:
        """(tenant, job) of jobs for a backbone that is not ``target``, which no worker holds."""
        other = (jobs.c.kind == JobKind.BACKBONE_UPGRADE.value) & (jobs.c.target != target)
        with self._database.read() as connection:
            lost = jobs.c.state.in_(OPEN) & (jobs.c.lease_until < self._database.clock(connection))
            query = select(jobs.c.tenant, jobs.c.id).where(other, (jobs.c.state == JobState.QUEUED.value) | lost)
            return [(row.tenant, row.id) for row in connection.execute(query)]


def _active() -> Join:
    """Tenants with the version that predicts."""
    mine = and_(prompts.c.tenant == tenants.c.id, prompts.c.version == tenants.c.active_version)
    return tenants.join(prompts, mine)
