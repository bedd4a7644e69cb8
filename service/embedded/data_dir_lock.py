"""One `serve` per data folder: two would share a SQLite file, leases and a key file without knowing of each other."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from types import TracebackType


class DataDirBusy(RuntimeError):
    """Another process holds the data folder."""

    def __init__(self, data_dir: Path, pid: str):
        holder = f"process {pid}" if pid else "another process"
        super().__init__(
            f"The data folder {data_dir} is in use by {holder}. "
            "Stop that one first, or give this one its own folder with SKELETON_PROMPT_DATA_DIR or --data-dir."
        )
        self.pid = pid


class DataDirUnusable(RuntimeError):
    """The data folder cannot be made or written."""


class DataDirLock:
    """An advisory lock on `<data_dir>/.lock`, held until `release` or the end of the process, however it ends.

    The kernel drops the lock with the process, so there is no stale lock to clean up after a crash.
    """

    def __init__(self, data_dir: Path):
        self.data_dir = data_dir
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            DataDirBusy: Another process has it; the message names it.
            DataDirUnusable: The folder cannot be made or written.
        """
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Never truncated on opening: that would wipe the holder's pid before we know whether there is one.
            descriptor = os.open(self.data_dir / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DataDirUnusable(
                f"The data folder {self.data_dir} cannot be written ({error.strerror}). "
                "Choose another with SKELETON_PROMPT_DATA_DIR or --data-dir."
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid = os.read(descriptor, 32).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise DataDirBusy(self.data_dir, pid) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; the file stays, because removing it would race with the next taker."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> DataDirLock:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release()
