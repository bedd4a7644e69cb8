"""Output of commands: tables and progress bars for terminals, JSON for machines, errors on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


class UsageError(ValueError):
    """The command line or a file it names is wrong; the message says how."""


EXPECTED = (OSError, RuntimeError, ValueError, LookupError, ImportError)  # they explain themselves; others need a trace


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    import orjson

    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS
    sys.stdout.buffer.write(orjson.dumps(value, option=options, default=str))
    sys.stdout.buffer.flush()


def console(*, stderr: bool = False) -> Console:
    """A rich console; plain text where it is not a terminal."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def print_table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, empty: str = "none") -> None:
    """Print rows as a table; a list becomes a comma-separated cell."""
    from rich.table import Table

    rows = list(rows)
    if not rows:
        console().print(empty)
        return
    table = Table(*(column.replace("_", " ") for column in columns), box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    console().print(table)


def _cell(value: Any) -> str:
    # Escaped, because a label may look like rich's markup.
    from rich.markup import escape

    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, (list, tuple)):
        return escape(", ".join(printable(str(item)) for item in value))
    return escape(printable(str(value)))


def printable(text: str) -> str:
    """Text with control characters written as escapes, because a label must not command the terminal."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def show(document: Any, *, as_json: bool) -> None:
    """Print one object: JSON, or a line per field."""
    if as_json or not isinstance(document, Mapping):
        print_json(document)
        return
    width = max((len(str(name)) for name in document), default=0)
    for name, value in document.items():
        if isinstance(value, (Mapping, list)) and value and not _is_flat(value):
            continue  # nested things are for --json
        console().print(f"[bold]{str(name).replace('_', ' '):<{width}}[/]  {_cell(value)}")


def _is_flat(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, (str, int, float)) for item in value)


def progress(items: Iterable[T], *, total: int, what: str, quiet: bool) -> Iterator[T]:
    """Go through items with a bar on stderr."""
    if quiet or total < 2:
        yield from items
        return
    from rich.progress import track

    yield from track(items, total=total, description=what, console=console(stderr=True), transient=True)


def _printable_lines(text: str) -> str:
    return "\n".join(printable(line) for line in text.split("\n"))


def fail(error: Exception, *, as_json: bool) -> int:
    """Say on stderr what went wrong; gives the exit code."""
    from skeleton_prompt.client.errors import ApiError

    # A wrong index or key is a mistake of ours, although both are lookups.
    expected = isinstance(error, EXPECTED) and not isinstance(error, (IndexError, KeyError))
    message = str(error) or type(error).__name__
    if as_json:
        import orjson

        problem: dict[str, Any] = {"error": message, "type": type(error).__name__}
        if isinstance(error, ApiError):
            problem |= {
                "code": error.code,
                "status": error.status,
                "errors": error.errors,
                "request_id": error.request_id,
            }
        sys.stderr.write(orjson.dumps(problem).decode() + "\n")
    elif expected:
        from rich.markup import escape

        console(stderr=True).print(f"[bold red]error[/]  {escape(_printable_lines(message))}")
    if not expected:
        import traceback

        traceback.print_exception(error)
    return 2 if isinstance(error, UsageError) else 1
