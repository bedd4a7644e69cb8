"""`skeleton-prompt doctor`: why it does not run here, or that it should."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from service.cli.connection import data_dir, running_server
from service.cli.engine_check import engine_findings
from service.cli.finding import Finding
from service.cli.output import AsJson, print_json
from service.cli.serve import DatabaseOption, use_database

if TYPE_CHECKING:
    from service.settings import Settings

SUPPORTED = ((3, 10), (3, 13))
LOW_DISK = 1 << 30


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(database_url: DatabaseOption = None, as_json: AsJson = False) -> None:
    """Check what the service needs on this machine; exits with 1 if something is broken."""
    use_database(database_url)
    findings = list(examine())
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        _print(findings)
    if any(finding.ok is False for finding in findings):
        raise typer.Exit(1)


def examine() -> Iterator[Finding]:
    """Each finding in turn; a check that breaks is a finding as well."""
    checks = (
        _python, _torch, _device, _backbone, _database, _old_backbones,
        _redis, _data_dir, _disk, _secrets, _port, _server,
    )  # fmt: skip
    for check in checks:
        yield _guarded(check)
    try:
        yield from engine_findings()
    except Exception as error:
        yield Finding("engine", False, f"{type(error).__name__}: {error}")


def _guarded(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as error:
        return Finding(check.__name__.strip("_").replace("_", " "), False, f"{type(error).__name__}: {error}")


def _python() -> Finding:
    found = ".".join(str(part) for part in sys.version_info[:3])
    good = SUPPORTED[0] <= sys.version_info[:2] < SUPPORTED[1]
    return Finding("python", good, found, "" if good else "Python 3.10, 3.11 or 3.12 is needed.")


def _torch() -> Finding:
    try:
        import torch
    except ImportError as error:
        return Finding("torch", False, str(error), "Install the server: pip install 'skeleton-prompt[server]'")
    where = f"{torch.cuda.device_count()} GPU" if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    return Finding("torch", True, f"{torch.__version__}, {where}")


def _device() -> Finding:
    """Where an engine would compute by the settings."""
    from service.settings import Settings
    from skeleton_prompt.model.devices import DeviceUnavailable, describe, resolve

    settings = Settings()
    try:
        device = resolve(settings.device)
    except DeviceUnavailable as error:
        return Finding("device", False, str(error), "Set SKELETON_PROMPT_DEVICE to auto or cpu, or install CUDA torch.")
    if settings.cuda_graphs and device.type == "cpu":
        return Finding("device", None, describe(device), "SKELETON_PROMPT_CUDA_GRAPHS does nothing without a GPU.")
    return Finding("device", True, f"{describe(device)} ({settings.device})")


def _backbone() -> Finding:
    from service.settings import Settings
    from skeleton_prompt.model.engine import Engine

    name = Settings().backbone
    engine = Engine.load(name)
    return Finding("backbone", True, f"{name}, sha256 {engine.backbone_sha256[:12]}")


def _old_backbones() -> Finding:
    """Whether tenants are served on older backbones, and whether these can be loaded."""
    from service.settings import Settings
    from service.storage.blobs.paths import BACKBONES
    from service.storage.store import Storage
    from skeleton_prompt.model.backbone_files import backbone_path, shipped_backbones
    from skeleton_prompt.model.prompt_file import digest

    what = "old backbones"
    settings = Settings().resolved()
    if _no_file_yet(settings):
        return Finding(what, True, "no data yet")
    storage = Storage.open(settings)
    try:
        if storage.schema().revision is None:
            return Finding(what, True, "no data yet")
        waiting = storage.backbones.waiting(digest(backbone_path(settings.backbone).read_bytes()))
        shipped = {digest(path.read_bytes()) for path in shipped_backbones()}
        missing = [sha256 for sha256 in waiting if sha256 not in shipped and not storage.backbones.is_intact(sha256)]
    finally:
        storage.close()
    if missing:
        names = ", ".join(f"{BACKBONES}/{sha256}.safetensors" for sha256 in missing)
        advice = f"Bring back {names} in the blob store, or let them be tuned again: see their jobs."
        lost = sum(waiting[name] for name in missing)
        return Finding(what, False, f"{lost} {'tenant' if lost == 1 else 'tenants'} cannot be served", advice)
    if waiting:
        advice = "They are served, and tuned again by themselves; jobs of kind new_backbone say how that went."
        return Finding(what, None, f"{sum(waiting.values())} tenants are served on an older backbone", advice)
    return Finding(what, True, "no tenant needs one")


def _database() -> Finding:
    """Which database it is, whether it answers, and whether its tables are those of this release."""
    from service.settings import Settings
    from service.storage.sql.postgres import DatabaseUnusable
    from service.storage.store import Storage

    settings = Settings().resolved()
    if _no_file_yet(settings):
        return Finding("database", True, "SQLite in the data folder (made at the first start)")
    try:
        storage = Storage.open(settings)
        try:
            schema, place = storage.schema(), storage.database_name
        finally:
            storage.close()
    except DatabaseUnusable as error:
        return Finding("database", False, "cannot be used", str(error))
    found = f"{schema.server} at {place}, "
    if schema.current:
        return Finding("database", True, f"{found}migration {schema.revision}")
    if not schema.usable:
        advice = "Install the release that made it, or name another database."
        return Finding("database", False, f"{found}migration {schema.revision}, not of this release", advice)
    if not schema.known:
        advice = "That works, because migrations only add; upgrade this package when you can."
        return Finding("database", None, f"{found}migration {schema.revision} of a newer release", advice)
    found += f"migration {schema.revision} of {schema.newest}" if schema.revision else "no tables yet"
    return Finding("database", None, found, "The next start of the service or of a worker migrates it.")


def _no_file_yet(settings: Settings) -> bool:
    """Whether the database is a SQLite file that nobody has made; looking into it would make it."""
    path = str(settings.database_url).removeprefix("sqlite:///")
    return path != settings.database_url and not path.startswith("file:") and not Path(path).is_file()


def _redis() -> Finding:
    from service.embedded.private_redis import NoRedisBinary, find_redis_binary

    url = os.environ.get("SKELETON_PROMPT_REDIS_URL")
    if url:
        import redis

        redis.Redis.from_url(url, socket_timeout=3, socket_connect_timeout=3).ping()
        return Finding("redis", True, "the one of SKELETON_PROMPT_REDIS_URL answers")
    try:
        return Finding("redis", True, str(find_redis_binary()))
    except NoRedisBinary as error:
        return Finding("redis", False, "no binary", str(error))


def _data_dir() -> Finding:
    folder = data_dir().resolve()
    nearest = _nearest(folder)
    good = os.access(nearest, os.W_OK | os.X_OK) and nearest.is_dir()
    found = str(folder) if folder.exists() else f"{folder} (made at the first start)"
    return Finding(
        "data folder", good, found, "" if good else f"{nearest} cannot be written; set SKELETON_PROMPT_DATA_DIR."
    )


def _disk() -> Finding:
    free = shutil.disk_usage(_nearest(data_dir().resolve())).free
    good = free >= LOW_DISK
    return Finding("disk", good, f"{free / (1 << 30):.1f} GiB free", "" if good else "At least 1 GiB should be free.")


def _secrets() -> Finding:
    loose = [
        path.name
        for path in data_dir().glob("*")
        if path.name in ("admin_key", "secret") and path.stat().st_mode & 0o077
    ]
    if loose:
        return Finding(
            "key files", False, f"others can read {', '.join(loose)}", "chmod 600 them, and change the keys."
        )
    return Finding("key files", True, "private" if data_dir().exists() else "made at the first start")


def _port() -> Finding:
    port = int(os.environ.get("SKELETON_PROMPT_PORT") or 8000)
    host = os.environ.get("SKELETON_PROMPT_HOST") or "127.0.0.1"
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            ours = running_server() is not None
            advice = "" if ours else "Choose another with SKELETON_PROMPT_PORT."
            return Finding("port", None, f"{host}:{port}: {error.strerror}", advice)
    return Finding("port", True, f"{host}:{port} is free")


def _server() -> Finding:
    server = running_server()
    if server is None:
        return Finding("service", None, "not running with this data folder", "Start it with: skeleton-prompt serve")
    from skeleton_prompt.client import Client, ClientError

    try:
        with Client(str(server["url"]), attempts=1, timeout=5.0) as client:
            client.ready()
    except ClientError as error:
        return Finding("service", False, f"{server['url']} (process {server.get('pid')}): {error}")
    return Finding("service", True, f"ready at {server['url']} (process {server.get('pid')})")


def _nearest(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _print(findings: list[Finding]) -> None:
    from rich.markup import escape

    from service.cli.output import console

    marks = {True: "[green]ok[/]", False: "[red]broken[/]", None: "[yellow]note[/]"}
    out = console()
    for finding in findings:
        out.print(f"{marks[finding.ok]:<22}{finding.what:<14}{escape(finding.found)}")
        if finding.advice:
            out.print(f"{'':<22}{escape(finding.advice)}")
