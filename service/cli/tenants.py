"""`skeleton-prompt tenants`: make and erase tenants and their keys (admin key)."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli.connection import KeyOption, TenantArgument, Url, connect
from service.cli.output import AsJson, UsageError, print_json, print_table, show

group = typer.Typer(help="Tenants and their keys.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="tenants")


@group.command("list")
def list_(url: Url = None, key: KeyOption = None, as_json: AsJson = False) -> None:
    """All tenants."""
    with connect(url, key) as client:
        rows = [tenant.document for tenant in client.tenants(limit=200)]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, ("id", "name", "created"), empty="no tenants yet")


@group.command()
def create(
    tenant: TenantArgument,
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    url: Url = None,
    key: KeyOption = None,
    as_json: AsJson = False,
) -> None:
    """Create a tenant; its first key is shown only once."""
    with connect(url, key) as client:
        made = client.create_tenant(tenant, name=name)
    if as_json:
        print_json(made.document)
    else:
        secret = made.key.secret if made.key else None
        show({"id": made.id, "name": made.name, "created": made.created, "key, shown this once": secret}, as_json=False)


@group.command()
def delete(
    tenant: TenantArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    url: Url = None,
    key: KeyOption = None,
    as_json: AsJson = False,
) -> None:
    """Erase a tenant with its clips, prompts, jobs and keys; prints the receipt."""
    if not yes and as_json:
        raise UsageError("Erasing for a machine needs --yes.")
    if not yes:
        typer.confirm(f"Erase tenant {tenant} and everything it owns?", abort=True)
    with connect(url, key) as client:
        print_json(client.delete_tenant(tenant))


@group.command()
def keys(tenant: TenantArgument, url: Url = None, key: KeyOption = None, as_json: AsJson = False) -> None:
    """The tenant's keys, without their secrets."""
    with connect(url, key) as client:
        rows = [row.document for row in client.keys(tenant)]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, ("id", "scopes", "created"), empty="no keys")


@group.command("create-key")
def create_key(
    tenant: TenantArgument,
    scope: Annotated[list[str] | None, typer.Option(help="predict, tune, manage; repeat it. Default: predict.")] = None,
    url: Url = None,
    key: KeyOption = None,
    as_json: AsJson = False,
) -> None:
    """Make another key; its secret is shown this once."""
    with connect(url, key) as client:
        show(client.create_key(tenant, scope or ["predict"]).document, as_json=as_json)


@group.command("delete-key")
def delete_key(
    tenant: TenantArgument,
    key_id: Annotated[str, typer.Argument(help="The key's id.")],
    url: Url = None,
    key: KeyOption = None,
) -> None:
    """Revoke a key."""
    with connect(url, key) as client:
        client.delete_key(tenant, key_id)
