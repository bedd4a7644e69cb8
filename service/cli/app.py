"""Puts the commands together and turns exceptions into messages and exit codes.

Nothing heavy is imported here or at the top of a command's module: `skeleton-prompt --help` answers in a blink.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Sequence

import typer

from service.cli import (
    archive,
    bench,
    convert,
    demo,
    doctor,
    export,
    jobs,
    layouts,
    predict,
    prompts,
    render,
    serve,
    settings,
    tenants,
    tune,
)
from service.cli.output import fail
from skeleton_prompt import __version__

PLUGINS = "skeleton_prompt.commands"
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def build_app() -> typer.Typer:
    """The program with all its commands, those of installed plugins included."""
    app = typer.Typer(
        name="skeleton-prompt",
        help="Teach a service your own human actions from a handful of labelled skeleton clips.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_program)
    for module in (
        serve,
        predict,
        tune,
        jobs,
        prompts,
        tenants,
        layouts,
        render,
        export,
        archive,
        convert,
        demo,
        settings,
        doctor,
        bench,
    ):
        module.register(app)
    for entry in importlib.metadata.entry_points(group=PLUGINS):
        _add_plugin(app, entry)
    return app


def _add_plugin(app: typer.Typer, entry: importlib.metadata.EntryPoint) -> None:
    try:
        register = entry.load()
    except ImportError as error:  # an extra is not installed, or a plugin is broken: the other commands still work
        print(f"skeleton-prompt: the commands of {entry.value} are not available ({error})", file=sys.stderr)
    else:
        register(app)


def _show_version(value: bool) -> None:
    if value:
        print(f"skeleton-prompt {__version__}")
        raise typer.Exit


def _program(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Show the version."),
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and exit with 0, or non-zero after saying why."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    import stamina

    stamina.instrumentation.set_on_retry_hooks([])  # a retried request is not news for the user of a command
    try:
        build_app()(args=arguments, prog_name="skeleton-prompt")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output, such as `head`, has gone; that is its right.
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        sys.exit(fail(error, as_json="--json" in arguments))
