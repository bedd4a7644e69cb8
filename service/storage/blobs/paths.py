"""Paths in the blob store, and reading a backbone without a database."""

from __future__ import annotations

import re

from service.storage.blobs.filesystem import BlobStore
from skeleton_prompt.model.prompt_file import PromptRef, digest

BACKBONES = "backbones"
SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


class BackboneGone(Exception):
    """The file of a backbone is missing or does not match its hash; the message is for the operator."""


def prompt_blob(ref: PromptRef) -> str:
    """Path of a version's file; contains the hash, so two attempts never overwrite each other."""
    return f"tenants/{ref.tenant}/prompts/{ref.version}-{ref.sha256}.safetensors"


def backbone_blob(sha256: str) -> str:
    """Path of a backbone's file.

    Raises:
        ValueError: Not a SHA-256 in hexadecimal.
    """
    if not SHA256.fullmatch(sha256):
        raise ValueError(f"not a SHA-256: {sha256[:80]!r}")
    return f"{BACKBONES}/{sha256}.safetensors"


def read_backbone(blobs: BlobStore, sha256: str) -> bytes:
    """Read the file of a backbone from the blob store.

    Raises:
        BackboneGone: Missing or damaged.
        StorageUnavailable: The store does not answer.
    """
    try:
        data = blobs.read(backbone_blob(sha256))
    except (FileNotFoundError, ValueError):
        raise BackboneGone(f"the file of backbone {sha256[:12]} is not in the store") from None
    if digest(data) != sha256:
        raise BackboneGone(f"the file of backbone {sha256[:12]} is damaged: {len(data)} bytes of another hash")
    return data
