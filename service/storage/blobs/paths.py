"""Where files lie in the blob store, and reading them without a database."""

from __future__ import annotations

import re

from service.storage.blobs.filesystem import BlobStore
from skeleton_prompt.model.prompt_file import PromptRef, digest

BACKBONES = "backbones"
SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


class BackboneGone(Exception):
    """The file of a backbone is not there, or is not what its name says; the message is for the operator."""


def prompt_blob(ref: PromptRef) -> str:
    """Where a version's file lies; the hash is part of the name, so two attempts never write over each other."""
    return f"tenants/{ref.tenant}/prompts/{ref.version}-{ref.sha256}.safetensors"


def backbone_blob(sha256: str) -> str:
    """Where a backbone's file lies.

    Raises:
        ValueError: It is no hash.
    """
    if not SHA256.fullmatch(sha256):
        raise ValueError(f"not a SHA-256: {sha256[:80]!r}")
    return f"{BACKBONES}/{sha256}.safetensors"


def read_backbone(blobs: BlobStore, sha256: str) -> bytes:
    """The file of a backbone, by nothing but the store.

    Raises:
        BackboneGone: It is not there, or damaged.
        StorageUnavailable: The store does not answer.
    """
    try:
        data = blobs.read(backbone_blob(sha256))
    except (FileNotFoundError, ValueError):
        raise BackboneGone(f"the file of backbone {sha256[:12]} is not in the store") from None
    if digest(data) != sha256:
        raise BackboneGone(f"the file of backbone {sha256[:12]} is damaged: {len(data)} bytes of another hash")
    return data
