"""`skeleton-prompt prompts`: the versions a tenant owns, and which of them predicts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli.connection import KeyOption, TenantArgument, Url, connect
from service.cli.output import AsJson, print_json, print_table, show

VersionArgument = Annotated[int, typer.Argument(help="The version's number.")]
COLUMNS = ("version", "active", "labels", "parameters", "bytes", "created")

group = typer.Typer(help="Prompt versions of a tenant.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="prompts")


@group.command("list")
def list_(tenant: TenantArgument, url: Url = None, key: KeyOption = None, as_json: AsJson = False) -> None:
    """The newest versions."""
    with connect(url, key) as client:
        rows = [prompt.document for prompt in client.prompts(tenant)]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, COLUMNS, empty="no prompt versions yet")


@group.command("show")
def show_(
    tenant: TenantArgument, version: VersionArgument, url: Url = None, key: KeyOption = None, as_json: AsJson = False
) -> None:
    """One version."""
    with connect(url, key) as client:
        show(client.prompt(tenant, version).document, as_json=as_json)


@group.command()
def report(tenant: TenantArgument, version: VersionArgument, url: Url = None, key: KeyOption = None) -> None:
    """The report of a version, as JSON."""
    with connect(url, key) as client:
        print_json(client.report(tenant, version))


@group.command()
def activate(
    tenant: TenantArgument, version: VersionArgument, url: Url = None, key: KeyOption = None, as_json: AsJson = False
) -> None:
    """Activate a version."""
    with connect(url, key) as client:
        show(client.activate(tenant, version).document, as_json=as_json)


@group.command()
def rollback(tenant: TenantArgument, url: Url = None, key: KeyOption = None, as_json: AsJson = False) -> None:
    """Activate the previously active version."""
    with connect(url, key) as client:
        show(client.rollback(tenant).document, as_json=as_json)


@group.command()
def download(
    tenant: TenantArgument,
    version: VersionArgument,
    out: Annotated[Path, typer.Argument(help="The safetensors file to write.")],
    url: Url = None,
    key: KeyOption = None,
) -> None:
    """Save the file of a version."""
    with connect(url, key) as client:
        out.write_bytes(client.download_prompt(tenant, version))


@group.command()
def delete(tenant: TenantArgument, version: VersionArgument, url: Url = None, key: KeyOption = None) -> None:
    """Delete a version that is not active."""
    with connect(url, key) as client:
        client.delete_prompt(tenant, version)
