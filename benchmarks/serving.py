"""A service to measure: the one of the environment, or a fresh one in an empty folder."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

START_S = 120.0


@dataclass
class Service:
    """Where the service is, its admin key, and its process if it is ours."""

    url: str
    key: str
    data: Path | None = None
    process: subprocess.Popen[bytes] | None = None


def start(data: Path) -> Service:
    """Start a service on a free port and wait until it is ready."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SKELETON_PROMPT_")}
    env = kept | {"SKELETON_PROMPT_DATA_DIR": str(data), "SKELETON_PROMPT_PORT": "0"}
    process = subprocess.Popen(
        [sys.executable, "-m", "service.cli", "serve"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            document = json.loads((data / "server.json").read_text())
            if document["pid"] == process.pid:
                return Service(document["url"], (data / "admin_key").read_text().strip(), data, process)
        time.sleep(0.05)
    process.kill()
    raise SystemExit("the service did not start")


@contextlib.contextmanager
def service(*, own: bool = False) -> Iterator[Service]:
    """The service at SKELETON_PROMPT_URL with SKELETON_PROMPT_KEY, or a fresh one that ends with the block."""
    url, key = os.environ.get("SKELETON_PROMPT_URL"), os.environ.get("SKELETON_PROMPT_KEY")
    if url and key and not own:
        yield Service(url, key)
        return
    with tempfile.TemporaryDirectory() as folder:
        ours = start(Path(folder) / "data")
        try:
            yield ours
        finally:
            if ours.process is not None:
                ours.process.terminate()
                ours.process.wait(60)
