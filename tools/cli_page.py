"""Writes docs/cli.md: every command of `skeleton-prompt` with its arguments and options, read from the program itself.

    python tools/cli_page.py

A test fails when the page and the program disagree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from service.cli.app import build_app

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
PROGRAM = "skeleton-prompt"
COMMON = {"--help", "--install-completion", "--show-completion"}
HEAD = f"""# Command line

All commands of `{PROGRAM}`; `{PROGRAM} COMMAND --help` shows the same in the terminal. Commands that talk to a service
take its address and key from `--url` and `--key`, or from `SKELETON_PROMPT_URL` and `SKELETON_PROMPT_KEY`. A command
exits with 0 on success, 2 after a wrong argument, 130 after Ctrl-C, and 1 after any other failure unless it says
otherwise.

<!-- Made by tools/cli_page.py: change the help in service/cli or training/commands.py and write the page again. -->
"""


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All commands that do something, by their words, groups left out; in the order of the help."""
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name, child in children.items():
        if not child.hidden:
            yield from commands(child, (*path, name))


def page() -> str:
    """The whole page."""
    program = typer.main.get_command(build_app())
    return HEAD + "".join(section(path, command) for path, command in commands(program))


def section(path: tuple[str, ...], command: Any) -> str:
    """One command: what it does, how it is called, and a table of its parameters."""
    shown = [parameter for parameter in command.params if not COMMON & set(parameter.opts)]
    arguments = [parameter for parameter in shown if parameter.param_type_name == "argument"]
    words = [PROGRAM, *path, *("[OPTIONS]" if len(arguments) < len(shown) else "",), *map(usage, arguments)]
    lines = [
        f"\n## {' '.join(path)}\n",
        paragraph(command.help or ""),
        "",
        f"    {' '.join(word for word in words if word)}",
    ]
    if shown:
        lines += ["", "| Parameter | Default | Meaning |", "|---|---|---|", *map(row, shown)]
    return "\n".join(lines) + "\n"


def usage(argument: Any) -> str:
    """An argument in the line of usage."""
    name = (argument.metavar or argument.name).upper().strip("[]").removesuffix("...")
    text = f"{name}..." if argument.nargs == -1 else name
    return text if argument.required else f"[{text}]"


def row(parameter: Any) -> str:
    """A parameter's line of the table."""
    names = usage(parameter) if parameter.param_type_name == "argument" else ", ".join(flags(parameter))
    default = getattr(parameter.default, "value", parameter.default)  # of an enumeration
    unset = default is None or default is False or default == () or callable(default) or "UNSET" in repr(default)
    variable = f" Variable: `{parameter.envvar}`." if parameter.envvar else ""
    text = f"{paragraph(parameter.help or '')}{variable}".replace("|", r"\|").strip()
    return f"| `{names}` | {'required' if parameter.required else '' if unset else f'`{default}`'} | {text} |"


def flags(option: Any) -> list[str]:
    """How an option is written, with the name of its value."""
    names = [*option.opts, *option.secondary_opts]
    if option.is_flag or option.count:
        return names
    return [*names[:-1], f"{names[-1]} {option.metavar or option.name.strip('_').upper()}"]


def paragraph(text: str) -> str:
    """Help text on one line, without the terminal's own markup."""
    return re.sub(r"\s+", " ", text.replace("\b", "")).strip()


if __name__ == "__main__":
    PAGE.write_text(page())
