"""`skeleton-prompt archive`: what TorchServe serves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli.output import AsJson, UsageError, show


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(archive)


def archive(
    out: Annotated[Path, typer.Option(help="The folder to write skeleton_prompt.mar into.")] = Path("model_store"),
    backbone: Annotated[
        str, typer.Option(envvar="SKELETON_PROMPT_BACKBONE", help="The backbone: a name that ships, or a file.")
    ] = "edge",
    older: Annotated[
        list[str] | None, typer.Option(help="An older backbone to take along; may be given again.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, max=1024, help="Most rows of one forward pass.")] = 16,
    queue_size: Annotated[int, typer.Option(min=1, max=100_000, help="Most rows that wait in TorchServe.")] = 256,
    as_json: AsJson = False,
) -> None:
    """Build the model archive (.mar) for TorchServe, and beside it the configuration to start it with."""
    try:
        from service.inference.torchserve.archive import ArchiveError, build_archive, model_store_path
    except ImportError as error:
        raise UsageError(
            f"The model library is not installed ({error}): pip install 'skeleton-prompt[model]'"
        ) from error
    try:
        path = build_archive(out, backbone, older or (), batch_size=batch_size, queue_size=queue_size)
        for name in ("config.properties", "log4j2.xml"):  # what TorchServe is started with, unless it is there already
            if not (out / name).exists():
                (out / name).write_bytes(model_store_path(name).read_bytes())
    except (ArchiveError, OSError) as error:
        raise UsageError(str(error)) from error
    show({"file": str(path), "bytes": path.stat().st_size, "backbone": backbone}, as_json=as_json)
