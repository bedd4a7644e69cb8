"""`skeleton-prompt settings`: every setting with its default, what it is now, and what it does."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.output import AsJson, print_json, print_table

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

PREFIX = "SKELETON_PROMPT_"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(settings)


def settings(
    markdown: Annotated[bool, typer.Option("--markdown", help="The table of docs/settings.md.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the settings of the service; secrets are never shown."""
    if markdown:
        print(settings_table())
        return
    from service.cli.serve import read_settings

    current = read_settings()
    rows = [row | {"now": _shown(getattr(current, row["field"]))} for row in describe()]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, ("setting", "now", "default", "description"))


def describe() -> list[dict[str, Any]]:
    """Each setting: its field, environment variable, default and description."""
    from service.settings import Settings

    return [
        {
            "field": name,
            "setting": PREFIX + name.upper(),
            "default": _default(field),
            "description": " ".join((field.description or "").split()),
        }
        for name, field in Settings.model_fields.items()
    ]


def settings_table() -> str:
    """The settings as the Markdown table of docs/settings.md."""
    lines = ["| Variable | Default | What it does |", "|---|---|---|"]
    for row in describe():
        default = f"`{row['default']}`" if row["default"] else "unset"
        lines.append(f"| `{row['setting']}` | {default} | {row['description'].replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


def _default(field: FieldInfo) -> str:
    return _shown(field.get_default(call_default_factory=True, validated_data={}))


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, PurePath):
        return value.as_posix()
    # A SecretStr shows stars; an address may carry a password.
    return re.sub(r"(://[^/@:]*:)[^/]*@|([?&]password=)[^&]*", _masked, str(value))


def _masked(found: re.Match[str]) -> str:
    return f"{found[1]}***@" if found[1] else f"{found[2]}***"
