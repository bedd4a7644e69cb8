"""Options of the commands that talk to a service, and where they look when those are not given."""

from __future__ import annotations

import ipaddress
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from service.cli.output import UsageError

if TYPE_CHECKING:
    from skeleton_prompt.client import Client

Url = Annotated[
    str | None,
    typer.Option("--url", envvar="SKELETON_PROMPT_URL", help="The service. Default: the one running on this machine."),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--key",
        envvar="SKELETON_PROMPT_KEY",
        help="A key. Default: the admin key in the data folder, for a service on this machine.",
    ),
]
TenantArgument = Annotated[str, typer.Argument(help="The tenant's id.")]

ADMIN_KEY_FILE = "admin_key"


def data_dir() -> Path:
    """The data folder of a service on this machine."""
    return Path(os.environ.get("SKELETON_PROMPT_DATA_DIR") or "data")


def running_server(folder: Path | None = None) -> dict[str, object] | None:
    """What the service that uses the data folder says of itself: its `url` and `pid`."""
    try:
        document = json.loads(((folder or data_dir()) / "server.json").read_text())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def connect(url: str | None, key: str | None) -> Client:
    """A client for the commands.

    Raises:
        UsageError: No key was given and none is to be found.
    """
    from skeleton_prompt.client import DEFAULT_URL, Client

    if url is None:
        server = running_server()
        url = str(server["url"]) if server else DEFAULT_URL
    # The admin key of this machine is nobody else's business: it is only ever sent to this machine.
    if key is None and _is_local(url):
        key = os.environ.get("SKELETON_PROMPT_ADMIN_KEY") or _local_key()
    if key is None:
        raise UsageError("A key is needed: give --key or set SKELETON_PROMPT_KEY.")
    return Client(url, key, retry_seconds=10.0)


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _local_key() -> str | None:
    try:
        return (data_dir() / ADMIN_KEY_FILE).read_text().strip() or None
    except OSError:
        return None
