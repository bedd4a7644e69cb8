"""`skeleton-prompt jobs`: look at tuning jobs, wait for them, cancel them."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli.connection import KeyOption, TenantArgument, Url, connect
from service.cli.output import AsJson, print_json, print_table, show

JobArgument = Annotated[str, typer.Argument(help="The job's id.")]
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
        show(client.job(tenant, job).info.document, as_json=as_json)


@group.command()
def wait(
    tenant: TenantArgument, job: JobArgument, url: Url = None, key: KeyOption = None, as_json: AsJson = False
) -> None:
    """Wait for the end of a job; exits with 1 if it failed."""
    with connect(url, key) as client:
        show(client.job(tenant, job).wait(progress=not as_json).document, as_json=as_json)


@group.command()
def cancel(
    tenant: TenantArgument, job: JobArgument, url: Url = None, key: KeyOption = None, as_json: AsJson = False
) -> None:
    """Ask a job to stop."""
    with connect(url, key) as client:
        show(client.cancel_job(tenant, job).document, as_json=as_json)


@group.command()
def events(
    tenant: TenantArgument, job: JobArgument, url: Url = None, key: KeyOption = None, as_json: AsJson = False
) -> None:
    """What happened in a job so far."""
    with connect(url, key) as client:
        rows = client.job_events(tenant, job)
    if as_json:
        print_json(rows)
    else:
        print_table(rows, ("id", "time", "state", "progress", "step", "message"), empty="no events")
