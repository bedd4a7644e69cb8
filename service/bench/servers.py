"""The servers that are measured: services of this project and peers, each a process tree of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.bench.clips import CONTENT_TYPES, body, documents
from service.bench.load_generator import Request
from service.bench.seed_tenants import read_keys
from service.process.child import spawn

START_S = 180.0
STOP_S = 40.0
PEER_FILE = "peer.json"


class BenchmarkError(RuntimeError):
    """A server does not start, or what is needed to measure it is missing."""


@dataclass(frozen=True)
class Server:
    """A server that answers.

    Attributes:
        name: As the tables call it.
        url: Where clips are sent to.
        pid: The root of its process tree; 0 for one that runs elsewhere.
        keys: One for each tenant; empty for a peer, which knows none.
        forms: What it reads, see ``clips.FORMS``.
        start_s: Seconds from its start to its first answer.
        metrics: A request for its counters, if it has any.
        about: What the reader of the results should know, such as its version.
    """

    name: str
    url: str
    pid: int = 0
    keys: Sequence[str] = ()
    forms: Sequence[str] = tuple(CONTENT_TYPES)
    start_s: float = 0.0
    metrics: Request | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def requests(self, form: str, tenants: int = 1) -> list[Request]:
        """Requests in which each of so many tenants asks in turn, and clips vary."""
        kind = {"Content-Type": self.about.get("content_types", {}).get(form, CONTENT_TYPES[form])}
        before, after = (self.about.get(name, "").encode() for name in ("before", "after"))
        bodies = [before + body(document, form) + after for document in documents()]
        keys = list(self.keys[:tenants]) or [""]
        if len(keys) < tenants and self.keys:
            raise BenchmarkError(f"{self.name} has {len(keys)} tenants of the {tenants} that are asked for.")
        heads = [kind | ({"Authorization": f"Bearer {key}"} if key else {}) for key in keys]
        count = len(heads) * len(bodies)
        return [
            Request(self.url, heads[i % len(heads)], bodies[(i + i // len(bodies)) % len(bodies)]) for i in range(count)
        ]


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment of a service of our own: nothing of the user's own service, one torch thread."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("SKELETON_PROMPT_")}
    env |= {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    return env | {f"SKELETON_PROMPT_{name.upper()}": value for name, value in settings.items()}


@contextlib.contextmanager
def service(name: str, data: Path, log: Path, **settings: str) -> Iterator[Server]:
    """A service on a planted data folder, without training workers; stopped at the end.

    Raises:
        BenchmarkError: It does not start.
    """
    wanted = {
        "data_dir": str(data),
        "port": "0",
        "workers": "0",
        "max_backbone_upgrade_jobs": "0",
        "log_level": "warning",
    }
    env = environment(wanted | settings)
    command = [sys.executable, "-m", "service.cli", "serve"]

    def answering(process: subprocess.Popen[bytes]) -> str | None:
        with contextlib.suppress(OSError, ValueError):
            document = json.loads((data / "server.json").read_text())
            # The tether becomes the program, so the process has the id that it was started with.
            if document["pid"] == process.pid and _status(f"{document['url']}/readyz") == 200:
                return str(document["url"])
        return None

    keys = read_keys(data)
    admin = {"Authorization": f"Bearer {(data / 'admin_key').read_text().strip()}"}
    with _running(name, command, env, log, answering) as (process, url, seconds):
        metrics = Request(f"{url}/metrics", admin, b"")
        yield Server(name, f"{url}/predict", process.pid, keys, start_s=seconds, metrics=metrics)


@contextlib.contextmanager
def peer(folder: Path, log: Path) -> Iterator[Server]:
    """A peer by its folder: ``peer.json`` says what it is, ``serve.sh PORT`` runs it.

    Raises:
        BenchmarkError: It does not start; its environment may not have been made yet.
    """
    about = json.loads((folder / PEER_FILE).read_text())
    port = _free_port()
    url = f"http://127.0.0.1:{port}{about['path']}"
    bash = shutil.which("bash")
    if bash is None:
        raise BenchmarkError("Peers are started by bash, which is not there.")
    probe = Server(about["name"], url, about=about).requests("json")[0]

    def answering(_process: subprocess.Popen[bytes]) -> str | None:
        return url if _status(url, probe) == 200 else None

    env = environment({}) | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with _running(folder.name, [bash, str(folder / "serve.sh"), str(port)], env, log, answering) as found:
        process, _, seconds = found
        yield Server(about["name"], url, process.pid, forms=about["forms"], start_s=seconds, about=about)


@contextlib.contextmanager
def _running(
    name: str,
    command: Sequence[str],
    env: Mapping[str, str],
    log: Path,
    answering: Callable[[subprocess.Popen[bytes]], str | None],
) -> Iterator[tuple[subprocess.Popen[bytes], str, float]]:
    """A process, where it answers, and how many seconds it took until then."""
    began = time.monotonic()
    with log.open("ab") as stream:
        process = spawn(command, env=env, output=stream.fileno())
    try:
        while (url := answering(process)) is None:
            if process.poll() is not None or time.monotonic() - began > START_S:
                raise BenchmarkError(f"{name} did not start:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.02)
        yield process, url, time.monotonic() - began
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with contextlib.suppress(ProcessLookupError):  # what a peer has left in its session
            os.killpg(process.pid, signal.SIGKILL)


def _status(url: str, probe: Request | None = None) -> int:
    request = urllib.request.Request(url)  # noqa: S310  # http, built here
    if probe is not None:
        request = urllib.request.Request(url, probe.body, dict(probe.headers))  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
