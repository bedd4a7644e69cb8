"""`skeleton-prompt jobs`: list, show, wait for and cancel tuning jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.connection import KeyOption, TenantArgument, Url, connect
from service.cli.output import AsJson, UsageError, print_json, print_table, show

if TYPE_CHECKING:
    from skeleton_prompt.client import Client

JobArgument = Annotated[str, typer.Argument(help="The job's id, or the first characters of it.")]
ID_LENGTH = 32
COLUMNS = ("job", "state", "progress", "step", "attempt", "version", "activated", "created")

group = typer.Typer(help="Tuning jobs of a tenant.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="jobs")


@group.command("list")
def list_(tenant: TenantArgument, url: Url = None, key: KeyOption = None, as_json: AsJson = False) -> None:
    """The newest jobs."""
    with connect(url, key) as client:
        rows = [job.document for job in client.jobs(tenant)]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, COLUMNS, empty="no jobs")


@group.command("show")
def show_(
    tenant: TenantArgument, job: JobArgument, url: Url = None, key: KeyOption = None, as_json: AsJson = False
) -> None:
    """One job."""
    with connect(url, key) as client:
        show(client.job(tenant, job_id(client, tenant, job)).info.document, as_json=as_json)


@group.command()
def wait(
    tenant: TenantArgument, job: JobArgument, url: Url = None, key: KeyOption = None, as_json: AsJson = False
) -> None:
    """Wait for the end of a job; exits with 1 if it failed."""
    with connect(url, key) as client:
        show(client.job(tenant, job_id(client, tenant, job)).wait(progress=not as_json).document, as_json=as_json)


@group.command()
def cancel(
    tenant: TenantArgument, job: JobArgument, url: Url = None, key: KeyOption = None, as_json: AsJson = False
) -> None:
    """Request cancellation of a job."""
    with connect(url, key) as client:
        show(client.cancel_job(tenant, job_id(client, tenant, job)).document, as_json=as_json)


@group.command()
def events(
    tenant: TenantArgument, job: JobArgument, url: Url = None, key: KeyOption = None, as_json: AsJson = False
) -> None:
    """Events of a job."""
    with connect(url, key) as client:
        rows = client.job_events(tenant, job_id(client, tenant, job))
    if as_json:
        print_json(rows)
    else:
        print_table(rows, ("id", "time", "state", "progress", "step", "message"), empty="no events")


def job_id(client: Client, tenant: str, given: str) -> str:
    """The id of a job of which the first characters are given.

    Args:
        client: An open client.
        tenant: The tenant's id.
        given: A whole id, which is returned as it is, or a prefix of one.

    Raises:
        UsageError: If no job or more than one has this prefix.
    """
    if len(given) >= ID_LENGTH:
        return given
    found: list[str] = []
    after: str | None = None
    while True:
        page = client.jobs(tenant, limit=200, after=after)
        found += [job.job for job in page.items if job.job.startswith(given)]
        after = page.next
        if after is None:
            break
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(f"no job of tenant {tenant} has an id that begins with {given!r}; see `jobs list {tenant}`")
    raise UsageError(f"{len(found)} jobs have ids that begin with {given!r}: {', '.join(found[:5])}")
