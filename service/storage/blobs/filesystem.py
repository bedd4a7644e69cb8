"""Blob store on fsspec with atomic writes; S3 is in ``s3.py``."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from service.errors import StorageFull, StorageUnavailable

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*(/[a-z0-9][a-z0-9_.-]*)*", re.ASCII)

FILE_MODE = 0o600  # clips show people; no other user of the machine may read them


class BlobStore:
    """Blobs by name below one root.

    Args:
        url: A folder, or any URL that fsspec supports; ``open_blobs`` routes S3 URLs to ``S3BlobStore``.
    """

    def __init__(self, url: str) -> None:
        self.fs, root = fsspec.core.url_to_fs(url)
        self.root = str(root).rstrip("/")
        self.local = isinstance(self.fs, LocalFileSystem)

    def _path(self, name: str) -> str:
        if not NAME.fullmatch(name) or ".." in name:
            raise ValueError(f"not a blob name: {name!r}")
        return f"{self.root}/{name}"

    def write(self, name: str, data: bytes) -> None:
        """Write a blob atomically and durably: readers see all of it or nothing, also after a power failure.

        Raises:
            StorageFull: The disk is full; nothing remains of the attempt.
            StorageUnavailable: The store cannot be written to.
        """
        path = self._path(name)
        with _readable_errors():
            if not self.local:
                self.fs.pipe_file(path, data)
                return
            folder = Path(path).parent
            folder.mkdir(parents=True, exist_ok=True)
            partial = folder / f".{Path(path).name}.{secrets.token_hex(4)}"
            try:
                descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                partial.replace(path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
            _sync(folder)

    def read(self, name: str) -> bytes:
        """A blob's bytes.

        Raises:
            FileNotFoundError: No blob has this name.
            StorageUnavailable: The store cannot be read.
        """
        with _readable_errors():
            data: bytes = self.fs.cat_file(self._path(name))
            return data

    def delete(self, name: str) -> bool:
        """Delete a blob; returns whether it existed."""
        with _readable_errors():
            try:
                self.fs.rm_file(self._path(name))
            except FileNotFoundError:
                return False
            return True

    def names(self, prefix: str) -> list[str]:
        """Names of all blobs below a prefix."""
        with _readable_errors():
            path = self._path(prefix)
            if not self.fs.exists(path):
                return []
            return sorted(str(found)[len(self.root) + 1 :] for found in self.fs.find(path))

    def delete_below(self, prefix: str) -> int:
        """Delete everything below a prefix, folders included; returns the number of blobs."""
        names = self.names(prefix)
        with _readable_errors():
            path = self._path(prefix)
            if self.fs.exists(path):
                self.fs.rm(path, recursive=True)
        return len(names)

    def check(self) -> str:
        """Write, read, list and delete a small blob; returns a description of the store.

        Raises:
            StorageFull, StorageUnavailable: One of these does not work.
        """
        folder = f"checks/{secrets.token_hex(8)}"
        name, data = f"{folder}/probe", secrets.token_bytes(32)
        self.write(name, data)
        if self.read(name) != data or self.names(folder) != [name]:
            raise StorageUnavailable("The blob store does not give back what was written.")
        self.delete_below(folder)
        if self.names(folder):
            raise StorageUnavailable("The blob store keeps what was deleted.")
        return self.root


def _sync(folder: Path) -> None:
    """Fsync a folder, so that a new name in it is durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _readable_errors() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StorageFull("There is no room left to store this; nothing was changed.") from error
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise StorageUnavailable(f"The blob store does not answer ({reason}).", retry_after=5.0) from error
