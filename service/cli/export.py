"""`skeleton-prompt export`: a tenant's model as one file for other runtimes."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from service.cli.connection import KeyOption, Url, connect
from service.cli.output import AsJson, UsageError, show


class Format(str, Enum):
    """What can be written."""

    onnx = "onnx"
    safetensors = "safetensors"


class Coords(str, Enum):
    """Keypoints that an ONNX model takes."""

    xyc = "xyc"
    xyzc = "xyzc"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(export)


def export(
    out: Annotated[Path, typer.Option(help="The file to write.")],
    tenant: Annotated[str | None, typer.Option(help="Export a version of this tenant, from the service.")] = None,
    version: Annotated[int | None, typer.Option(min=1, help="Which version; default the active one.")] = None,
    prompt: Annotated[Path | None, typer.Option(help="Export a prompt file instead, without any service.")] = None,
    backbone: Annotated[str, typer.Option(help="With --prompt: the backbone, a name or a file.")] = "edge",
    format: Annotated[Format, typer.Option(help="Of the file.")] = Format.onnx,
    layout: Annotated[
        str | None,
        typer.Option(help="Layout of the keypoints: a name, or joint names with commas. Default: the tenant's."),
    ] = None,
    coords: Annotated[Coords | None, typer.Option(help="2-D or 3-D keypoints. Default: the tenant's.")] = None,
    url: Url = None,
    key: KeyOption = None,
    as_json: AsJson = False,
) -> None:
    """Write a model with its preprocessing as ONNX, from the service or from a prompt file."""
    if (tenant is None) == (prompt is None):
        raise UsageError("Give --tenant for a version of the service, or --prompt for a file.")
    chosen = coords.value if coords else None
    if prompt is not None:
        if format is not Format.onnx or version is not None:
            raise UsageError("--prompt is exported as onnx and has no --version.")
        data = _offline(prompt, backbone, layout or "coco17", chosen or "xyc")
    else:
        assert tenant is not None  # noqa: S101  # checked above, which mypy does not follow
        with connect(url, key) as client:
            if version is None:
                active = [found.version for found in client.prompts(tenant, limit=200) if found.active]
                if not active:
                    raise UsageError(f"{tenant} has no active version: give --version.")
                version = active[0]
            data = client.download_prompt(tenant, version, format=format.value, layout=layout, coords=chosen)
    out.write_bytes(data)
    show({"file": str(out), "bytes": len(data), "format": format.value, "version": version}, as_json=as_json)


def _offline(prompt: Path, backbone: str, layout: str, coords: str) -> bytes:
    from skeleton_prompt.clips.layouts import BadLayout, UnknownLayout
    from skeleton_prompt.model.backbone_files import backbone_path
    from skeleton_prompt.model.prompt_file import BadPrompt
    from skeleton_prompt.onnx.export import ExportUnavailable, export_onnx, layout_of

    try:
        return export_onnx(prompt.read_bytes(), backbone_path(backbone), layout_of(layout), coords)
    except (ExportUnavailable, BadPrompt, UnknownLayout, BadLayout, OSError) as error:
        raise UsageError(str(error)) from error
