"""`skeleton-prompt convert`: clips from one file format into another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.output import AsJson, UsageError, show


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(convert)


def convert(
    source: Annotated[
        Path, typer.Argument(metavar="SRC", help="A clip file (.json, .ndjson, .msgpack, .npz) or folder.")
    ],
    target: Annotated[Path, typer.Argument(metavar="DST", help="The .json or .ndjson file to write, .gz to compress.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Take only the first clips.")] = None,
    as_json: AsJson = False,
) -> None:
    """Turn clips of other formats into the documents that `predict` and `tune` read; each is checked on the way."""
    from itertools import islice

    from service.cli.clip_files import read_clips, write_clips

    documents = [_checked(path, document) for path, document in islice(read_clips([source]), limit)]
    if not documents:
        raise UsageError(f"{source}: no clips")
    show({"written": str(target), "clips": write_clips(target, documents)}, as_json=as_json)


def _checked(path: Path, document: dict[str, Any]) -> dict[str, Any]:
    """The document as the parser understood it."""
    from skeleton_prompt.client.requests import clip_body
    from skeleton_prompt.clips.clip import InvalidClip, clip_document, parse_clip

    try:
        return clip_document(parse_clip(clip_body(document), teaching="label" in document))
    except InvalidClip as error:
        raise UsageError(f"{path}, {document.get('id', 'a clip')}: {error}") from error
