"""Exported models: made in a process of their own, one at a time, and the latest few kept in memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import anyio

from service import errors
from service.backbone_loader import current_bytes, load_old_backbone
from service.storage.blobs.paths import BackboneGone
from service.storage.records import PromptRecord
from service.storage.store import Storage, TenantRepository
from skeleton_prompt.clips.layouts import BadLayout, UnknownLayout
from skeleton_prompt.onnx.export import ExportUnavailable, layout_of, require_onnx

MAX_CACHED = 4  # each about as large as the backbone's file, 18 MB for edge
MAX_WAITING = 8  # more than that are refused
TIMEOUT_S = 180.0  # an export takes four seconds of one core; a busy machine may be ten times slower
ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class ExportSpec:
    """What is exported.

    Attributes:
        tenant: Whose.
        version: Of its prompts.
        sha256: Of the prompt.
        layout: Name, or joint names with commas between them.
        coords: ``xyc`` or ``xyzc``.
    """

    tenant: str
    version: int
    sha256: str
    layout: str
    coords: str


def resolve_export(
    repository: TenantRepository, record: PromptRecord, layout: str | None, coords: str | None
) -> ExportSpec:
    """Fill in what the request leaves open: the layout and coordinates of the clip that was stored last.

    Raises:
        InvalidRequest: Exporting is not installed here.
        UnknownLayout: The layout is none.
    """
    try:
        require_onnx()
    except ExportUnavailable as error:
        problem = {"loc": "query.format", "rule": "not_installed", "message": str(error)}
        raise errors.InvalidRequest("This service cannot export to ONNX.", errors=[problem]) from error
    if layout is None or coords is None:
        stored_layout, stored_coords = _of_stored(repository)
        coords = coords or (stored_coords if layout is None else "xyc")
        layout = layout or stored_layout
    try:
        layout_of(layout)
    except (UnknownLayout, BadLayout) as error:
        problem = {"loc": "query.layout", "rule": "unknown_layout", "message": str(error)}
        raise errors.UnknownLayout("The layout is not known.", errors=[problem]) from error
    return ExportSpec(repository.tenant, record.version, record.sha256, layout, coords)


def _of_stored(repository: TenantRepository) -> tuple[str, str]:
    newest = repository.list_clips(1).items
    if not newest:
        return "coco17", "xyc"
    _, clip = repository.get_clip(newest[0].id)
    layout = ",".join(clip.layout.joints) if clip.layout.name == "custom" else clip.layout.name
    return layout, "xyc" if clip.positions.shape[-1] == 2 else "xyzc"


class OnnxExporter:
    """Makes exported models.

    Args:
        storage: For backbones that are not the current one.
        backbone: The current one, as the settings name it.
    """

    def __init__(self, storage: Storage, backbone: str) -> None:
        self._storage, self._backbone = storage, backbone
        self._one = anyio.Lock()
        self._waiting = 0
        self._kept: OrderedDict[ExportSpec, bytes] = OrderedDict()

    def evict(self, tenant: str, version: int | None = None) -> None:
        """Let go of a tenant's models, or of those of one version."""
        for key in [key for key in self._kept if key.tenant == tenant and version in (None, key.version)]:
            self._kept.pop(key, None)

    async def model(self, repository: TenantRepository, wanted: ExportSpec, backbone_sha256: str) -> bytes:
        """The ONNX file.

        Raises:
            Overloaded: Too many exports wait.
            VersionNotFound: It was deleted meanwhile.
            BackboneMismatch: The version's backbone is nowhere any more.
            EngineUnavailable: The export failed.
        """
        if self._waiting >= MAX_WAITING:
            raise errors.Overloaded("Too many exports are waiting.", retry_after=30.0)
        self._waiting += 1
        try:
            async with self._one:
                if wanted not in self._kept:
                    data = await self._export_cached(repository, wanted, backbone_sha256)
                    # Nothing of a version or a tenant that was deleted meanwhile is kept.
                    await asyncio.to_thread(repository.get_prompt, wanted.version)
                    self._kept[wanted] = data
                self._kept.move_to_end(wanted)
                data = self._kept[wanted]
                while len(self._kept) > MAX_CACHED:
                    self._kept.popitem(last=False)
                return data
        finally:
            self._waiting -= 1

    async def _export_cached(self, repository: TenantRepository, wanted: ExportSpec, backbone_sha256: str) -> bytes:
        with tempfile.TemporaryDirectory(prefix="export-") as name:
            folder = Path(name)
            await asyncio.to_thread(self._write_input, folder, repository, wanted.version, backbone_sha256)
            await _run(folder, wanted)
            return await asyncio.to_thread((folder / "model.onnx").read_bytes)

    def _write_input(self, folder: Path, repository: TenantRepository, version: int, backbone_sha256: str) -> None:
        (folder / "prompt.safetensors").write_bytes(repository.prompt_bytes(version))
        try:
            with contextlib.suppress(BackboneGone, OSError):
                (folder / "backbone.safetensors").write_bytes(current_bytes(self._backbone, backbone_sha256))
                return
            (folder / "backbone.safetensors").write_bytes(load_old_backbone(self._storage, backbone_sha256))
        except BackboneGone as error:
            raise errors.BackboneMismatch("The backbone of this version is no longer there.") from error


async def _run(folder: Path, wanted: ExportSpec) -> None:
    """Run the exporter; its last line on failure is the reason."""
    paths = [str(folder / name) for name in ("prompt.safetensors", "backbone.safetensors", "model.onnx")]
    options = [f"--layout={wanted.layout}", f"--coords={wanted.coords}"]
    paths_of_python = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths_of_python)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "skeleton_prompt.onnx.export", *paths, *options,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        env=environment,
    )  # fmt: skip
    try:
        with anyio.fail_after(TIMEOUT_S):
            _, said = await process.communicate()
    except TimeoutError:
        raise errors.EngineUnavailable(f"The export took longer than {TIMEOUT_S:g} s.", retry_after=60.0) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        lines = said.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise errors.EngineUnavailable(f"The version cannot be exported: {lines[-1][:300]}", retry_after=60.0)
