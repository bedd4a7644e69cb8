"""Prompt versions: immutable rows and files, and one pointer that moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from service.errors import LostLease, NoActivePrompt, StorageUnavailable, VersionActive, VersionNotFound
from service.storage.blobs.paths import prompt_blob
from service.storage.records import Page, PromptRecord
from service.storage.repositories.jobs import JobRepository
from service.storage.repositories.scope import TenantScope, moment, number_cursor
from service.storage.sql.tables import activations, prompts, tenants
from skeleton_prompt.model.prompt_file import PromptRef, digest

MISSING = "There is no such version."


def prompt_record(row: Any, active: int | None) -> PromptRecord:
    """A row of the table."""
    return PromptRecord(
        version=row.version,
        sha256=row.sha256,
        backbone_sha256=row.backbone_sha256,
        labels=tuple(row.labels),
        parameters=row.parameters,
        bytes=row.bytes,
        created=moment(row.created),
        metrics=dict(row.metrics),
        job=row.job,
        active=row.version == active,
    )


def _same_job(one: Any, other: Any) -> bool:
    return other is not None and one.job is not None and one.job == other.job


class PromptRepository:
    """A tenant's prompt versions."""

    def __init__(self, scope: TenantScope, jobs: JobRepository) -> None:
        self._scope = scope
        self._jobs = jobs

    def publish(
        self,
        job_id: str,
        token: int,
        version: int,
        data: bytes,
        *,
        labels: Sequence[str],
        backbone_sha256: str,
        parameters: int,
        metrics: Mapping[str, Any],
        report: Mapping[str, Any],
    ) -> PromptRecord:
        """Store a version: file first, then its row in one fenced transaction. Again by the same job is as once.

        Raises:
            LostLease: Another attempt has the job; no row was written.
            StorageFull, StorageUnavailable: No row was written.
        """
        ref = PromptRef(self._scope.tenant, version, digest(data))
        self._jobs.require_lease(job_id, token)
        self._scope.blobs.write(prompt_blob(ref), data)
        row = {
            "tenant": ref.tenant,
            "version": version,
            "sha256": ref.sha256,
            "backbone_sha256": backbone_sha256,
            "labels": list(labels),
            "parameters": parameters,
            "bytes": len(data),
            "metrics": dict(metrics),
            "report": dict(report),
            "job": job_id,
        }
        try:
            self._insert(ref, row, token)
        except LostLease:
            # A file without a row is harmless, and the other attempt may be about to point to it. Not so where the
            # whole tenant was erased meanwhile.
            if self._jobs.erased(job_id):
                self._scope.blobs.delete(prompt_blob(ref))
            raise
        return self.get_prompt(version)

    def _insert(self, ref: PromptRef, row: dict[str, Any], token: int) -> None:
        outdated = None
        with self._scope.database.write() as connection:
            # The tenant first: nobody may let a version predict that is being replaced.
            active = self._active(connection, change=True)
            self._jobs.has_lease(connection, row["job"], token)
            there = connection.execute(self._scope.select_for_update(prompts, prompts.c.version == ref.version)).first()
            if there is not None:
                if there.sha256 == ref.sha256 or there.version == active:
                    return
                # An attempt that died before its canary; nothing has ever pointed to it.
                outdated = PromptRef(ref.tenant, ref.version, there.sha256)
                connection.execute(delete(prompts).where(self._version(ref.version)))
            connection.execute(insert(prompts).values(row | {"created": self._scope.database.clock(connection)}))
        if outdated is not None:
            self._scope.blobs.delete(prompt_blob(outdated))

    def list_prompts(self, limit: int = 50, after: str | None = None) -> Page[PromptRecord]:
        """Versions, newest first."""
        query = self._scope.select(prompts).order_by(prompts.c.version.desc()).limit(limit + 1)
        cursor = number_cursor(after)
        if cursor is not None:
            query = query.where(prompts.c.version < cursor)
        with self._scope.database.read() as connection:
            rows = connection.execute(query).all()
            active = self._active(connection)
        found = [prompt_record(row, active) for row in rows[:limit]]
        return Page(found, str(rows[limit - 1].version) if len(rows) > limit else None)

    def get_prompt(self, version: int) -> PromptRecord:
        """A version.

        Raises:
            VersionNotFound: The tenant has no such version.
        """
        with self._scope.database.read() as connection:
            return prompt_record(self._prompt_row(connection, version), self._active(connection))

    def get_report(self, version: int) -> dict[str, Any]:
        """The report of a version.

        Raises:
            VersionNotFound: The tenant has no such version.
        """
        with self._scope.database.read() as connection:
            return dict(self._prompt_row(connection, version).report)

    def active_prompt(self) -> PromptRecord | None:
        """The version that predicts, or None."""
        with self._scope.database.read() as connection:
            version = self._active(connection)
            return None if version is None else prompt_record(self._prompt_row(connection, version), version)

    def activate(
        self,
        version: int,
        *,
        job_id: str | None = None,
        token: int | None = None,
        instead_of: int | None = None,
        first: bool = False,
    ) -> bool:
        """Make a version the active one, from the next request on; with a job's token only while that is the latest.

        Args:
            version: The version.
            job_id: The job that made it.
            token: The job's token.
            instead_of: The version that must still be the active one.
            first: It is the first version of the job, which then shows it.

        Returns:
            Whether it predicts now; false only where another version than ``instead_of`` was active.

        Raises:
            VersionNotFound: The tenant has no such version.
            LostLease: Another attempt has the job.
        """
        with self._scope.database.write() as connection:
            active = self._active(connection, change=True)
            job = None
            if job_id is not None and token is not None:
                job = self._jobs.has_lease(connection, job_id, token)
            self._prompt_row(connection, version)
            if active != version and instead_of is not None and active != instead_of:
                return False
            if first and job is not None:
                self._jobs.record_first(connection, job, version)
            if active == version:
                return True
            self._point(connection, version)
            self._record_activation(connection, version)
            return True

    def rollback(self) -> None:
        """Activate the version that was active before the last job or the last explicit activation.

        A job may have activated two versions, the first and the refined one; both are passed over together.

        Raises:
            NoActivePrompt: There was none before, or it was deleted.
        """
        with self._scope.database.write() as connection:
            active = self._active(connection, change=True)
            now = connection.execute(self._scope.select(prompts, prompts.c.version == (active or 0))).first()
            history = connection.execute(self._scope.select(activations).order_by(activations.c.id.desc())).all()
            for row in history:
                connection.execute(
                    delete(activations).where(activations.c.tenant == self._scope.tenant, activations.c.id == row.id)
                )
                there = connection.execute(self._scope.select(prompts, prompts.c.version == row.version)).first()
                if row.version == active or there is None or _same_job(there, now):
                    continue
                self._point(connection, row.version)
                self._record_activation(connection, row.version)
                return
            raise NoActivePrompt("There is no version that was active before.")

    def delete_prompt(self, version: int) -> None:
        """Erase a version.

        Raises:
            VersionNotFound: The tenant has no such version.
            VersionActive: It is the active one.
        """
        with self._scope.database.write() as connection:
            active = self._active(connection, change=True)
            row = self._prompt_row(connection, version)
            if active == version:
                raise VersionActive(f"Version {version} is active; activate another one first.")
            connection.execute(delete(prompts).where(self._version(version)))
        self._scope.blobs.delete(prompt_blob(PromptRef(self._scope.tenant, version, row.sha256)))

    def prompt_bytes(self, version: int) -> bytes:
        """The file of a version.

        Raises:
            VersionNotFound: The tenant has no such version.
            StorageUnavailable: Its row is there, its file is not, or is damaged.
        """
        ref = PromptRef(self._scope.tenant, version, self.get_prompt(version).sha256)
        try:
            data = self._scope.blobs.read(prompt_blob(ref))
        except FileNotFoundError:
            raise StorageUnavailable(f"The file of version {version} is missing.") from None
        if digest(data) != ref.sha256:
            raise StorageUnavailable(f"The file of version {version} is damaged.")
        return data

    def _version(self, version: int) -> Any:
        return (prompts.c.tenant == self._scope.tenant) & (prompts.c.version == version)

    def _prompt_row(self, connection: Connection, version: int) -> Any:
        row = connection.execute(self._scope.select(prompts, prompts.c.version == version)).first()
        if row is None:
            raise VersionNotFound(MISSING)
        return row

    def _active(self, connection: Connection, *, change: bool = False) -> int | None:
        if change:
            owner = self._scope.lock_tenant(connection)
            found = None if owner is None else owner.active_version
        else:
            query = select(tenants.c.active_version).where(tenants.c.id == self._scope.tenant)
            found = connection.execute(query).scalar_one_or_none()
        return None if found is None else int(found)

    def _record_activation(self, connection: Connection, version: int) -> None:
        now = self._scope.database.clock(connection)
        row = {"tenant": self._scope.tenant, "version": version, "time": now}
        connection.execute(insert(activations).values(row))

    def _point(self, connection: Connection, version: int) -> None:
        connection.execute(update(tenants).where(tenants.c.id == self._scope.tenant).values(active_version=version))
