"""Sees to it that a new backbone strands nobody: keeps its file, and has tenants of older ones tuned again.

Any number of gateways may look at once: a job is made in one transaction that takes the tenant's row, and the table
holds one job for a version and a backbone, whatever became of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog
from anyio import to_thread

from service.backbone_loader import current_bytes
from service.errors import NotFound, ServiceError
from service.storage.blobs.paths import BackboneGone
from service.storage.store import Storage

log = structlog.get_logger(__name__)

EVERY_S = 30.0  # well below ALIVE_S of service.storage.repositories.backbones
BUSY_EVERY_S = 2.0  # while such jobs are open: the next ones should not wait for half a minute
CLEAN_EVERY_S = 3600.0


class BackboneUpgrader:
    """Looks for tenants whose active version was made on another backbone than this service's.

    Args:
        storage: Where tenants, jobs and files are.
        backbone: The current backbone, as the settings name it.
        sha256: Its hash, as loaded.
        most: How many jobs of this kind may be open at once.
        on_look: Told how many tenants wait, and how many jobs were made.
    """

    def __init__(
        self,
        storage: Storage,
        backbone: str,
        sha256: str,
        *,
        most: int = 4,
        on_look: Callable[[int, int], None] | None = None,
    ) -> None:
        self._storage = storage
        self._backbone = backbone
        self.sha256 = sha256
        self._most = most
        self._on_look = on_look
        self.busy = False
        self._kept = False
        self._keep_failed = False
        self._waited: int | None = None

    def run_once(self) -> int:
        """Look once; how many jobs were made. Blocks."""
        self._storage.backbones.heartbeat(self.sha256)
        self._keep()
        made = self._create_upgrade() if self._storage.backbones.newest(self.sha256) else 0
        self.busy = self._storage.backbones.queued(self.sha256) > 0
        waiting = self._storage.backbones.waiting(self.sha256)
        count = sum(waiting.values())
        if count != self._waited and (count or self._waited):
            backbones = {sha256[:12]: tenants for sha256, tenants in waiting.items()}
            log.info("tenants on older backbones", tenants=count, backbones=backbones, current=self.sha256[:12])
        self._waited = count
        if self._on_look is not None:
            self._on_look(count, made)
        return made

    def garbage_collect(self) -> list[str]:
        """Remove files of backbones that nobody needs any more. Blocks."""
        removed = self._storage.backbones.remove_unused()
        if removed:
            log.info("backbones without any prompt are removed", backbones=[sha256[:12] for sha256 in removed])
        return removed

    async def run(self) -> None:
        """Look for ever; what goes wrong is tried again."""
        clean_at = 0.0
        while True:
            try:
                await to_thread.run_sync(self.run_once)
                if time.monotonic() >= clean_at:
                    clean_at = time.monotonic() + CLEAN_EVERY_S
                    await to_thread.run_sync(self.garbage_collect)
            except Exception:
                log.warning("looking for old backbones failed; trying again", exc_info=True)
            await asyncio.sleep(BUSY_EVERY_S if self.busy else EVERY_S)

    def _keep(self) -> None:
        """Keep the current backbone's file for the time after the next upgrade; a full disk is no reason to stop."""
        if self._kept:
            return
        try:
            written = self._storage.backbones.store(current_bytes(self._backbone, self.sha256))
        except (ServiceError, BackboneGone, OSError) as error:
            if not self._keep_failed:
                log.error("the backbone's file cannot be kept; trying again", backbone=self.sha256, error=str(error))
            self._keep_failed = True
            return
        self._kept = True
        if written:
            log.info("the backbone's file is kept for its prompts", backbone=self.sha256[:12])

    def _create_upgrade(self) -> int:
        backbones = self._storage.backbones
        for tenant, job in backbones.superseded(self.sha256):
            self._storage.tenant(tenant).cancel_backbone_upgrade(job)
        room = self._most - backbones.queued(self.sha256)
        made = 0
        for waiting in backbones.pending(self.sha256, room) if room > 0 else []:
            try:
                job_made = self._storage.tenant(waiting.tenant).create_backbone_upgrade(waiting.version, self.sha256)
            except NotFound:  # erased in this moment
                continue
            if job_made is not None:
                made += 1
                log.info(
                    "a version is tuned again on the new backbone",
                    tenant=waiting.tenant,
                    version=waiting.version,
                    job=job_made.id,
                )
        return made
