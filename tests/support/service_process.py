"""The real `skeleton-prompt serve` as a subprocess, on a free port, with its own data folder."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from skeleton_prompt.client import Client
from tests.support.polling import children, eventually

START_S = 180.0  # usually about three; the first start on a slow disk reads hundreds of megabytes of torch


@dataclass
class Server:
    """A running service."""

    url: str
    data_dir: Path
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def admin_key(self) -> str:
        return (self.data_dir / "admin_key").read_text().strip()

    def client(self, key: str | None = None, **options: object) -> Client:
        """A client; with the admin key unless told otherwise."""
        return Client(self.url, key or self.admin_key, **options)

    def tenant(self) -> tuple[str, Client]:
        """A new tenant and a client with its first key."""
        with self.client() as admin:
            made = admin.create_tenant(f"t-{uuid.uuid4().hex[:12]}")
        return made.id, self.client(made.key.secret)

    def ready(self) -> bool:
        """Whether it can predict right now."""
        with self.client(attempts=1) as client:
            return bool(client.ready())

    def child(self, program: str) -> int:
        """The process id of the child whose command line contains `program`; waits until it has started."""

        def find() -> int | None:
            return next((pid for pid, command in children(self.process.pid).items() if program in command), None)

        return eventually(find, f"a child that is {program}")

    def stop(self, seconds: float = 40.0) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


def environment(data_dir: Path, **settings: str) -> dict[str, str]:
    """An environment in which no setting of the developer's own service is in force."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("SKELETON_PROMPT_")}
    env |= {"SKELETON_PROMPT_DATA_DIR": str(data_dir), "SKELETON_PROMPT_PORT": "0", "PYTHONUNBUFFERED": "1"}
    env["SKELETON_PROMPT_TEMPORAL_TUNING_SECONDS"] = "0"  # most tests teach something without caring how well
    return env | {f"SKELETON_PROMPT_{name.upper()}": value for name, value in settings.items()}


def launch(data_dir: Path, **settings: str) -> tuple[subprocess.Popen[bytes], Path]:
    """Start the service without waiting for it; its output goes into the log."""
    data_dir.mkdir(parents=True, exist_ok=True)
    log = data_dir.parent / f"{data_dir.name}.log"
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "service.cli", "serve"],
            env=environment(data_dir, **settings),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    return process, log


@contextlib.contextmanager
def serving(data_dir: Path, **settings: str) -> Iterator[Server]:
    """A ready service, stopped at the end."""
    process, log = launch(data_dir, **settings)

    def started() -> str | None:
        assert process.poll() is None, f"serve ended with {process.returncode}:\n{log.read_text()[-4000:]}"
        with contextlib.suppress(OSError, ValueError):
            document = json.loads((data_dir / "server.json").read_text())
            return document["url"] if document["pid"] == process.pid else None
        return None

    try:
        yield Server(eventually(started, "the service is ready", START_S), data_dir, process, log)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
