"""`skeleton-prompt serve`: the whole service in one command."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.output import UsageError

if TYPE_CHECKING:
    from service.settings import Settings

PREFIX = "SKELETON_PROMPT_"
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database", "--database-url", help="postgresql://user@host/name instead of SQLite; the password not here."
    ),
]
SECRETS = {"admin_key", "secret", "metrics_key"}
CLIENT_SETTINGS = {"url", "key"}  # what the other commands read
TEST_SETTINGS = {"cases", "require_data", "shared"}  # what tests and .ci/run read


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(serve)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder for the database, blobs and keys.")] = None,
    workers: Annotated[int | None, typer.Option(help="Training workers to run.")] = None,
    backbone: Annotated[
        str | None, typer.Option(help="The frozen backbone: a name that ships, or the path of a file.")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="embedded or torchserve.")] = None,
    engine_url: Annotated[
        str | None, typer.Option(help="Addresses of TorchServe instances, separated by commas.")
    ] = None,
    redis_url: Annotated[str | None, typer.Option(help="A Redis to use instead of a private one.")] = None,
    database_url: DatabaseOption = None,
    blob_url: Annotated[
        str | None, typer.Option(help="Blob store instead of a folder, such as s3://bucket/prefix.")
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any other setting of docs/settings.md.")
    ] = None,
) -> None:
    """Run gateway, engine, training worker and a private Redis; Ctrl-C stops them all."""
    options = {
        "host": host,
        "port": port,
        "data_dir": data_dir,
        "workers": workers,
        "backbone": backbone,
        "engine": engine,
        "engine_url": engine_url,
        "redis_url": redis_url,
        "database_url": database_url,
        "blob_url": blob_url,
        "log_level": log_level,
    }
    given = {name: str(value) for name, value in options.items() if value is not None}
    # A flag goes the way of its environment variable, so that there is one way to parse, check and document a setting.
    for name, value in (given | _settings(set_ or [])).items():
        if name == "database_url":
            refuse_password(value)
        os.environ[PREFIX + name.upper()] = value
    try:
        from service.embedded.serve import serve as run
    except ImportError as error:
        raise UsageError(f"The server is not installed ({error}): pip install 'skeleton-prompt[server]'") from error
    # Ctrl-C is how one stops it: no failure, and everything is already down in order when it arrives here.
    with contextlib.suppress(KeyboardInterrupt):
        run(read_settings())


def refuse_password(database_url: str) -> None:
    """Refuse an address on the command line that carries a password.

    Raises:
        UsageError: It does.
    """
    if re.search(r"://[^/@]*:[^/]*@|[?&]password=", database_url):
        raise UsageError(
            "--database: a password on the command line can be seen by every user; "
            f"set {PREFIX}DATABASE_URL, PGPASSWORD or ~/.pgpass"
        )


def use_database(database_url: str | None) -> None:
    """Let a command's option go the way of its environment variable.

    Raises:
        UsageError: It carries a password.
    """
    if database_url is not None:
        refuse_password(database_url)
        os.environ[PREFIX + "DATABASE_URL"] = database_url


def read_settings() -> Settings:
    """The settings in the environment.

    Raises:
        UsageError: One is misspelt or has a value that it cannot have.
    """
    from pydantic import ValidationError

    from service.settings import RENAMED, Settings

    unknown = sorted(
        name
        for name in os.environ
        if name.startswith(PREFIX)
        and name.removeprefix(PREFIX).lower()
        not in {*Settings.model_fields, *RENAMED, *CLIENT_SETTINGS, *TEST_SETTINGS}
    )
    if unknown:  # a misspelt limit that is silently not in force would be worse than a refusal
        raise UsageError(f"There is no setting {', '.join(unknown)}; docs/settings.md lists them.")
    try:
        return Settings()
    except ValidationError as error:
        # Without the input values, which could be secrets.
        problems = "; ".join(
            f"{PREFIX}{str(row['loc'][0]).upper()}: {row['msg']}" for row in error.errors() if row["loc"]
        )
        raise UsageError(f"Wrong settings: {problems or 'see docs/settings.md'}") from None


def _settings(pairs: list[str]) -> dict[str, str]:
    settings = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        name = name.strip().lower().removeprefix(PREFIX.lower()).replace("-", "_")
        if not separator:
            raise UsageError(f"--set {pair}: NAME=VALUE is expected, such as --set max_queue_rows=64")
        if name in SECRETS:
            raise UsageError(
                f"--set {name}: a secret on the command line can be seen by every user; set {PREFIX}{name.upper()}"
            )
        settings[name] = value
    return settings
