"""`skeleton-prompt render`: draw a clip."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli.output import AsJson, UsageError, print_json


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(render)


def render(
    clip: Annotated[Path, typer.Argument(help="A clip file.")],
    out: Annotated[Path, typer.Argument(help="The .gif, .png or .svg file to write.")],
    number: Annotated[int, typer.Option(min=1, help="Which clip of a file with several.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Draw a clip: .gif and .svg move, .png is a strip of frames."""
    from itertools import islice

    from service.cli.clip_files import read_clips
    from skeleton_prompt.client.requests import clip_body
    from skeleton_prompt.clips.clip import parse_clip

    found = next(islice(read_clips([clip]), number - 1, number), None)
    if found is None:
        raise UsageError(f"{clip}: there is no clip number {number}")
    from skeleton_prompt.render import render_clip

    drawn = parse_clip(clip_body(found[1]))
    render_clip(drawn, out)
    if as_json:
        print_json({"file": str(out), "frames": drawn.frames, "people": drawn.people, "layout": drawn.layout.name})
