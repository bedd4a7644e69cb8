"""What the doctor says about the engine: whether the parts of a TorchServe are here, and whether each one predicts."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from service.cli.finding import Finding

if TYPE_CHECKING:
    from service.settings import Settings

START_S = 10.0
INSTALL = "pip install 'skeleton-prompt[torchserve]'"


def engine_findings() -> Iterator[Finding]:
    """The engine that the settings ask for."""
    from service.settings import Settings

    settings = Settings().resolved()
    if settings.engine != "torchserve":
        yield Finding("engine", True, "in the service's own process")
    elif settings.engine_url is None:
        yield _local()
    else:
        yield from _remote(settings, settings.engine_url.split(","))
    archive = Path("model_store/skeleton_prompt.mar")  # where `archive` writes it unless told otherwise
    if settings.engine == "torchserve" and archive.is_file():
        yield archive_finding(archive, settings)


def _local() -> Finding:
    """Whether `serve --engine torchserve` has what it starts."""
    from service.embedded.local_torchserve import NoTorchServe, find_java, find_torchserve

    try:
        java, _ = find_java(), find_torchserve()
    except NoTorchServe as error:
        return Finding("engine", False, "TorchServe cannot be started here", str(error))
    missing = [name for name in ("yaml", "model_archiver") if importlib.util.find_spec(name) is None]
    if missing:
        return Finding("engine", False, f"TorchServe is here, {' and '.join(missing)} is not", INSTALL)
    return Finding("engine", True, f"a TorchServe of its own, with the Java in {java}")


def archive_finding(archive: Path, settings: Settings) -> Finding:
    """Whether an archive was built with the backbone that the service has now."""
    from service.inference.torchserve.archive import archived_backbone
    from skeleton_prompt.model.backbone_files import backbone_path
    from skeleton_prompt.model.prompt_file import digest

    theirs, ours = archived_backbone(archive), digest(backbone_path(settings.backbone).read_bytes())
    if theirs == ours:
        return Finding("archive", True, f"{archive}, backbone {ours[:12]}")
    advice = f"Build it anew: skeleton-prompt archive --backbone {settings.backbone} --out {archive.parent}"
    return Finding("archive", None, f"{archive} has backbone {theirs[:12]}, the service {ours[:12]}", advice)


def _remote(settings: Settings, urls: Sequence[str]) -> Iterator[Finding]:
    """Whether each instance completes a forward pass, and on which backbone."""
    from skeleton_prompt.model.backbone_files import backbone_path
    from skeleton_prompt.model.prompt_file import digest

    ours = digest(backbone_path(settings.backbone).read_bytes())
    for url in urls:
        yield asyncio.run(_instance(url, ours))


async def _instance(url: str, ours: str) -> Finding:
    from service.errors import EngineUnavailable
    from service.inference.metrics import name_of
    from service.inference.torchserve.engine import TorchServeEngine
    from service.inference.torchserve.instances import Instance

    engine = TorchServeEngine([url], start_s=START_S)
    name = name_of(Instance(url))
    try:
        await engine.start()
        theirs = engine.backbone_sha256 or ""
        await engine.stop()
    except EngineUnavailable as error:
        return Finding("engine", False, error.detail, f"Is {name} the inference address of a TorchServe that runs?")
    if theirs == ours:
        return Finding("engine", True, f"{name} predicts on backbone {ours[:12]}")
    advice = "Right while a new release is rolled out; else build its archive anew with the service's backbone."
    return Finding("engine", None, f"{name} predicts on backbone {theirs[:12]}, the service has {ours[:12]}", advice)
