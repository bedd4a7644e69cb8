"""The engine of a backbone that is not the current one: its file comes from the store, or from what ships."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from service.errors import StorageFull, StorageUnavailable
from service.storage import BackboneGone, Storage
from service.storage.backbones import read_backbone
from service.storage.blobs import BlobStore
from skeleton_prompt.bundle import digest

if TYPE_CHECKING:
    from skeleton_prompt.engine import Engine

log = structlog.get_logger(__name__)


def current_bytes(backbone: str, sha256: str) -> bytes:
    """The file of the backbone that the settings name.

    Raises:
        BackboneGone: The file is another one by now, as after an upgrade under a running service.
        OSError: It cannot be read.
    """
    from skeleton_prompt.engine import backbone_path

    data = backbone_path(backbone).read_bytes()
    if digest(data) != sha256:
        raise BackboneGone(f"the file of backbone {backbone} has changed since it was loaded ({sha256[:12]})")
    return data


def old_bytes(storage: Storage, sha256: str) -> bytes:
    """The file of any backbone: out of the store, else out of what ships, which is then kept.

    Raises:
        BackboneGone: It is nowhere, or damaged.
        StorageUnavailable: The store does not answer.
    """
    from skeleton_prompt.engine import shipped_backbones

    try:
        return storage.backbones.read(sha256)
    except BackboneGone:
        for path in shipped_backbones():
            data = path.read_bytes()
            if digest(data) == sha256:
                with contextlib.suppress(StorageFull, StorageUnavailable):
                    storage.backbones.keep(data)
                return data
        raise


def archived_engine(folder: Path, blobs: BlobStore, sha256: str) -> Engine:
    """An engine on any backbone by its hash: from an archive's folder, else what ships, else the store.

    Raises:
        BackboneGone: Its file is nowhere, or damaged.
        BackboneError: This release cannot read it.
        StorageUnavailable: The store does not answer.
    """
    from skeleton_prompt.backbone import parse_backbone
    from skeleton_prompt.engine import Engine, shipped_backbones

    for path in (*sorted(folder.glob("*.safetensors")), *shipped_backbones()):
        data = path.read_bytes()
        if digest(data) == sha256:
            break
    else:
        data = read_backbone(blobs, sha256)
    return Engine(parse_backbone(data, f"backbone {sha256[:12]}"))


def old_engine(storage: Storage, sha256: str) -> Engine:
    """An engine on any backbone by its hash.

    Raises:
        BackboneGone: Its file is nowhere, or damaged.
        BackboneError: This release cannot read it.
        StorageUnavailable: The store does not answer.
    """
    from skeleton_prompt.backbone import parse_backbone
    from skeleton_prompt.engine import Engine

    return Engine(parse_backbone(old_bytes(storage, sha256), f"backbone {sha256[:12]}"))
