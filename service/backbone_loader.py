"""Engines on older backbones, loaded from the blob store or from the shipped files."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import structlog
from anyio import to_thread

from service.errors import ServiceError, StorageFull, StorageUnavailable
from service.storage.blobs.filesystem import BlobStore
from service.storage.blobs.paths import BackboneGone, read_backbone
from skeleton_prompt.model.backbone_files import backbone_path, shipped_backbones
from skeleton_prompt.model.prompt_file import digest

if TYPE_CHECKING:
    from service.settings import Settings
    from service.storage.store import Storage
    from skeleton_prompt.model.engine import Engine

log = structlog.get_logger(__name__)


def current_bytes(backbone: str, sha256: str) -> bytes:
    """The file of the configured backbone.

    Raises:
        BackboneGone: The file changed, as after an upgrade under a running service.
        OSError: It cannot be read.
    """
    data = backbone_path(backbone).read_bytes()
    if digest(data) != sha256:
        raise BackboneGone(f"the file of backbone {backbone} has changed since it was loaded ({sha256[:12]})")
    return data


def load_old_backbone(storage: Storage, sha256: str) -> bytes:
    """The file of any backbone: from the blob store, else from the shipped files, which is then stored.

    Raises:
        BackboneGone: Not found, or damaged.
        StorageUnavailable: The store does not answer.
    """
    try:
        return storage.backbones.read(sha256)
    except BackboneGone:
        for path in shipped_backbones():
            data = path.read_bytes()
            if digest(data) == sha256:
                with contextlib.suppress(StorageFull, StorageUnavailable):
                    storage.backbones.store(data)
                return data
        raise


class EngineOptions(TypedDict, total=False):
    """Options of engines; see the settings of the same names."""

    device: str
    cuda_graphs: bool
    runtime: str
    cache: str | None


def engine_options(settings: Settings) -> EngineOptions:
    """How engines compute by the settings; converted backbones are kept below the data folder."""
    return {
        "device": settings.device,
        "cuda_graphs": settings.cuda_graphs,
        "runtime": settings.runtime,
        "cache": str(Path(settings.data_dir).expanduser().resolve() / "cache" / "openvino"),
    }


def engine_from_archive(folder: Path, blobs: BlobStore, sha256: str, where: EngineOptions | None = None) -> Engine:
    """An engine on any backbone by its hash: from an archive's folder, else what ships, else the store.

    Raises:
        BackboneGone: Its file is not found, or damaged.
        BackboneError: This release cannot read it.
        StorageUnavailable: The store does not answer.
    """
    from skeleton_prompt.model.backbone import parse_backbone
    from skeleton_prompt.model.engine import Engine

    for path in (*sorted(folder.glob("*.safetensors")), *shipped_backbones()):
        data = path.read_bytes()
        if digest(data) == sha256:
            break
    else:
        data = read_backbone(blobs, sha256)
    return Engine(parse_backbone(data, f"backbone {sha256[:12]}"), **(where or {}))


class BackboneCompatibility:
    """Decides by its backbone whether a remote engine may serve.

    Its own must be the service's: else every prompt would be one of a backbone that the engine loads beside its own,
    and none would ever be up to date. The exception is an older one that tenants are still served on, as while
    a new release is rolled out; such an engine loads the service's backbone beside its own.

    Args:
        storage: Knows which backbones tenants are served on.
        backbone: The service's, as the settings name it.

    Raises:
        FileNotFoundError: There is no such backbone.
    """

    def __init__(self, storage: Storage, backbone: str) -> None:
        self._storage, self._backbone = storage, backbone
        self.sha256 = digest(backbone_path(backbone).read_bytes())
        self._accepted = {self.sha256}

    async def rejection_reason(self, sha256: str) -> str | None:
        """Why an engine on this backbone is rejected, or None."""
        if sha256 in self._accepted:
            return None
        try:
            older = await to_thread.run_sync(self._storage.backbones.waiting, self.sha256)
        except ServiceError as error:
            return f"The engine runs on another backbone, and the database cannot be asked about it: {error.detail}"
        if sha256 in older:
            # For good: the engine must not be lost when the last tenant has moved on to the new backbone.
            self._accepted.add(sha256)
            log.warning("an engine has an older backbone as its own", engine=sha256[:12], service=self.sha256[:12])
            return None
        return (
            f"The engine was built with backbone {sha256[:12]}, the service has {self.sha256[:12]} ({self._backbone}), "
            "and no tenant is served on the engine's. Build the archive anew with the service's backbone: "
            "skeleton-prompt archive --backbone."
        )


def old_engine(storage: Storage, sha256: str, where: EngineOptions | None = None) -> Engine:
    """An engine on any backbone by its hash.

    Raises:
        BackboneGone: Its file is not found, or damaged.
        BackboneError: This release cannot read it.
        StorageUnavailable: The store does not answer.
    """
    from skeleton_prompt.model.backbone import parse_backbone
    from skeleton_prompt.model.engine import Engine

    return Engine(parse_backbone(load_old_backbone(storage, sha256), f"backbone {sha256[:12]}"), **(where or {}))
