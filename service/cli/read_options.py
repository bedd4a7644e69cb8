"""Options of the file readers, shared by the commands that read clips."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.output import UsageError

if TYPE_CHECKING:
    from skeleton_prompt.clips.formats import ReadOptions

_PANEL = "Files of other tools"
_PARAMETERS: dict[str, Any] = {
    "layout": Annotated[
        str | None, typer.Option(help="A layout, or joint names with commas.", rich_help_panel=_PANEL)
    ],
    "coords": Annotated[
        str | None, typer.Option(help="Numbers of a joint: xy, xyc, xyz, xyzc.", rich_help_panel=_PANEL)
    ],
    "fps": Annotated[float | None, typer.Option(help="Frames per second.", rich_help_panel=_PANEL)],
    "image_size": Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in pixels.", rich_help_panel=_PANEL)],
    "axes": Annotated[
        str | None, typer.Option(help="Axes of an array, as TPJC: frames, people, joints, xyz.", rich_help_panel=_PANEL)
    ],
    "up_axis": Annotated[str | None, typer.Option(help="Axis that points up: y, z, -y, ...", rich_help_panel=_PANEL)],
    "per_person": Annotated[
        bool, typer.Option("--per-person", help="One clip for each person.", rich_help_panel=_PANEL)
    ],
    "format_": Annotated[
        str | None, typer.Option("--format", help="The format, as convert --list names it.", rich_help_panel=_PANEL)
    ],
}  # fmt: skip


def with_read_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of the readers to a command, which gets them as the argument ``reading``."""
    own = inspect.signature(command, eval_str=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    added = [
        inspect.Parameter(name, keyword, default=False if name == "per_person" else None, annotation=annotation)
        for name, annotation in _PARAMETERS.items()
    ]
    kept = [parameter.replace(kind=keyword) for name, parameter in own.parameters.items() if name != "reading"]

    def wrapper(**values: Any) -> None:
        given = {name: values.pop(name) for name in _PARAMETERS}
        command(**values, reading=read_options(**given))

    wrapper.__name__, wrapper.__doc__, wrapper.__module__ = command.__name__, command.__doc__, command.__module__
    wrapper.__signature__ = inspect.Signature([*kept, *added])  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in (*kept, *added)}
    return wrapper


def read_options(
    layout: str | None = None,
    coords: str | None = None,
    fps: float | None = None,
    image_size: str | None = None,
    axes: str | None = None,
    up_axis: str | None = None,
    per_person: bool = False,
    format_: str | None = None,
) -> ReadOptions:
    """The options of the readers out of command line values.

    Raises:
        UsageError: a value is none that the option takes.
    """
    from skeleton_prompt.clips.formats import COORDS, UP_AXES, ReadOptions

    for name, value, allowed in (("--coords", coords, COORDS), ("--up-axis", up_axis, UP_AXES)):
        if value is not None and value not in allowed:
            raise UsageError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}")
    if fps is not None and not 0.1 <= fps <= 1000:
        raise UsageError(f"--fps is {fps:g}; from 0.1 to 1000 frames per second")
    size = None
    if image_size is not None:
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*[xX,:*]\s*(\d+(?:\.\d+)?)\s*", image_size)
        if not found or not all(float(side) > 0 for side in found.groups()):
            raise UsageError(f"--image-size is {image_size!r}; it must be WIDTHxHEIGHT, such as 1920x1080")
        size = (float(found.group(1)), float(found.group(2)))
    names: str | tuple[str, ...] | None = layout
    if layout is not None and "," in layout:
        names = tuple(name.strip() for name in layout.split(","))
    return ReadOptions(names, coords, fps, size, axes, up_axis, per_person, format_)
