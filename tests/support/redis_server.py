"""A real Redis of our own: the binary that ships with the embedded service, on a unix socket in a short folder."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator

import redis

from service.embedded.private_redis import RedisDir, find_redis_binary, wait_for_redis


class RedisServer:
    """A Redis that may be broken and brought back."""

    def __init__(self, folder: RedisDir, options: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.options = options or {}
        self.url = folder.url
        self.start()

    def start(self) -> None:
        socket = str(self.folder.socket)
        options = {"port": "0", "unixsocket": socket, "save": "", "appendonly": "no", "dir": str(self.folder.path)}
        command = [str(find_redis_binary())]
        for name, value in (options | self.options).items():
            command += [f"--{name}", value]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert wait_for_redis(self.folder.socket, 15.0), "Redis did not start"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Connections are accepted and nothing is ever answered."""
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.process.pid, signal.SIGCONT)

    @contextlib.contextmanager
    def client(self) -> Iterator[redis.Redis]:
        with redis.Redis.from_url(self.url) as client:
            yield client


@contextlib.contextmanager
def redis_server(**options: str) -> Iterator[RedisServer]:
    with RedisDir() as folder:
        server = RedisServer(folder, options)
        try:
            yield server
        finally:
            server.kill()
