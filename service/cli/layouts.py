"""`skeleton-prompt layouts`: the keypoint layouts known by name, and how they look. Needs no service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli.output import AsJson, print_json, print_table, show

group = typer.Typer(help="Keypoint layouts.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="layouts")


@group.command("list")
def list_(as_json: AsJson = False) -> None:
    """All layouts that have a name."""
    from skeleton_prompt.clips.layouts import get_layout, layout_names

    rows = [{"name": name, "joints": len(get_layout(name).joints)} for name in layout_names()]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, ("name", "joints"))


@group.command("show")
def show_(
    name: Annotated[str, typer.Argument(help="The layout's name.")],
    svg: Annotated[Path | None, typer.Option(help="Draw it into this SVG file.")] = None,
    as_json: AsJson = False,
) -> None:
    """One layout: its joints in order and its edges."""
    from skeleton_prompt.clips.layouts import get_layout
    from skeleton_prompt.layout_drawing import draw_layout

    layout = get_layout(name)
    if svg is not None:
        svg.write_text(draw_layout(layout))
    show(
        {"name": layout.name, "joints": list(layout.joints), "edges": [list(edge) for edge in layout.edges]},
        as_json=as_json,
    )
