"""Liveness of a process, judged from outside by a file that the process touches.

A stopped or deadlocked process keeps its sockets and its process id; only the absence of a sign of life shows it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

BEAT_S = 1.0


class Heartbeat:
    """Touches a file once a second from a thread.

    Args:
        path: The file; its folder exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and remove the file."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        while True:
            with contextlib.suppress(OSError):  # a full disk; the monitor then replaces this process
                self._path.touch()
            if self._stop.wait(BEAT_S):
                return


class HeartbeatMonitor:
    """Decides whether the process that touches a file hangs.

    Only changes of the file's time count, measured by this process's own monotonic clock: a machine that was suspended
    or whose clock was set does not look like a hung process.

    Args:
        path: The file.
        stale_s: Seconds without a touch after which the process counts as hung.
    """

    def __init__(self, path: Path, stale_s: float) -> None:
        self._path = path
        self._stale_s = stale_s
        self._seen: int | None = None
        self._since = time.monotonic()

    def reset(self) -> None:
        """Forget an earlier process; until the new one has touched the file it does not count as hung."""
        self._path.unlink(missing_ok=True)
        self._seen = None

    def is_hung(self) -> bool:
        """Whether the file exists and was not touched for ``stale_s``."""
        try:
            touched = self._path.stat().st_mtime_ns
        except OSError:
            return False
        if touched != self._seen:
            self._seen, self._since = touched, time.monotonic()
        return time.monotonic() - self._since > self._stale_s
