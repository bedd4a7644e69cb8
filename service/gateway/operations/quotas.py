"""Quotas of what a tenant may hold, and the reserve of disk that uploads leave free; each is off unless set."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from service.errors import StorageFull
from service.gateway.state.tenant_slots import quota_exceeded
from service.settings import Settings
from service.storage.store import TenantRepository
from skeleton_prompt.clips.clip import Clip


def require_room_for_clips(settings: Settings, repository: TenantRepository, clips: Sequence[Clip]) -> None:
    """Refuse clips that exceed a quota of their tenant or the reserve of disk; blocks.

    Args:
        settings: The limits.
        repository: The tenant's.
        clips: What is to be stored; before compression, so a quota of bytes is never exceeded.

    Raises:
        QuotaExceeded: ``max_tenant_clips`` or ``max_tenant_bytes`` would be exceeded.
        StorageFull: Less than ``min_free_bytes`` would be left.
    """
    if not clips:
        return
    size = sum(clip.positions.nbytes + clip.confidence.nbytes for clip in clips)
    require_free_disk(settings, size)
    if settings.max_tenant_clips is None and settings.max_tenant_bytes is None:
        return
    held = repository.holdings()
    if settings.max_tenant_clips is not None and held.clips + len(clips) > settings.max_tenant_clips:
        raise quota_exceeded("max_tenant_clips", settings.max_tenant_clips, held.clips)
    if settings.max_tenant_bytes is not None and held.bytes + size > settings.max_tenant_bytes:
        raise quota_exceeded("max_tenant_bytes", settings.max_tenant_bytes, held.bytes)


def require_room_for_prompt(settings: Settings, repository: TenantRepository) -> None:
    """Refuse a job whose prompt version would exceed the quota of its tenant; blocks.

    Raises:
        QuotaExceeded: ``max_tenant_prompts`` would be exceeded, unfinished jobs included.
    """
    if settings.max_tenant_prompts is None:
        return
    held = repository.holdings()
    if held.prompts + held.jobs >= settings.max_tenant_prompts:
        raise quota_exceeded("max_tenant_prompts", settings.max_tenant_prompts, held.prompts + held.jobs)


def require_free_disk(settings: Settings, size: int = 0) -> None:
    """Refuse an upload that would leave less disk than the service needs for itself.

    Raises:
        StorageFull: Less than ``min_free_bytes`` would be left where blobs or the database are.
    """
    for folder in local_folders(settings):
        try:
            free = shutil.disk_usage(folder).free
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EACCES):  # made by the first write, or not to be looked at
                continue
            raise
        if free - size < settings.min_free_bytes:
            raise StorageFull(
                f"{free} bytes of disk are free, and {settings.min_free_bytes} are kept for the service "
                "(min_free_bytes); delete clips or prompt versions, or add disk."
            )


def local_folders(settings: Settings) -> set[Path]:
    """Folders of this machine that uploads fill."""
    folders = {settings.data_dir}
    blobs = str(settings.blob_url or "")
    if blobs.startswith(("/", "file://")) or os.path.isdir(blobs):  # noqa: PTH112  # an address need not be a path
        folders.add(Path(blobs.removeprefix("file://")))
    return folders
