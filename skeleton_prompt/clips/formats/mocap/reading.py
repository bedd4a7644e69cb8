"""What every reader shares: one error that names file and line, and limits that keep a bad file from filling memory."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MAX_TEXT_BYTES = 256 * 2**20  # an hour of 60 joints at 120 fps is about 600 MB of text: such files are to be cut first
MAX_ARRAY_BYTES = 2**31  # of one array in an npz, after unpacking
MAX_FRAMES = 2_000_000
MAX_JOINTS = 512
MAX_METRES = 1e4  # a person does not move further from the origin than this


class MotionFileError(ValueError):
    """A motion file cannot be read; the message names the file, the line where there is one, and the reason."""

    def __init__(self, path: Path, why: str, line: int | None = None) -> None:
        super().__init__(f"{path}{'' if line is None else f':{line}'}: {why}")
        self.why = why if line is None else f"line {line}: {why}"


class NoMotion(MotionFileError):
    """The file is sound but holds no motion, such as AMASS's ``shape.npz``."""


def read_lines(path: Path) -> list[str]:
    """The lines of a text file.

    Raises:
        MotionFileError: If it is larger than ``MAX_TEXT_BYTES``, not UTF-8, or cannot be opened.
    """
    try:
        size = path.stat().st_size
        if size > MAX_TEXT_BYTES:
            raise MotionFileError(path, f"{size} bytes, more than {MAX_TEXT_BYTES}; cut the recording into parts")
        data = path.read_bytes()
    except OSError as error:
        raise MotionFileError(path, f"cannot be read ({error.strerror})") from error
    try:
        return data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise MotionFileError(path, f"byte 0x{data[error.start]:02x} is not UTF-8 text", line) from None


def number(path: Path, line: int, word: str) -> float:
    """A finite number.

    Raises:
        MotionFileError: If the word is none.
    """
    try:
        value = float(word)
    except ValueError:
        raise MotionFileError(path, f"{word[:40]!r} is not a number", line) from None
    if not np.isfinite(value):
        raise MotionFileError(path, f"{word[:40]!r} is not a finite number", line)
    return value


def read_arrays(path: Path, wanted: tuple[str, ...]) -> dict[str, NDArray[np.generic]]:
    """Arrays of an npz, those of ``wanted`` that it has. Nothing is ever unpickled.

    Raises:
        MotionFileError: If the file is no npz, is cut off, or an array is an object or too large.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {entry.filename.removesuffix(".npy"): entry.file_size for entry in archive.infolist()}
        large = {name: size for name, size in sizes.items() if name in wanted and size > MAX_ARRAY_BYTES}
        if large:
            name, size = next(iter(large.items()))
            raise MotionFileError(path, f"array {name} has {size} bytes, more than {MAX_ARRAY_BYTES}")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in wanted if name in file.files}
    except MotionFileError:
        raise
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise MotionFileError(path, f"is not a sound npz without objects ({str(error)[:120]})") from error


def finite(path: Path, what: str, values: NDArray[np.generic]) -> Array:
    """The values as float64.

    Raises:
        MotionFileError: If they are not numbers, or one of them is not finite; the message says where.
    """
    if values.dtype.kind not in "fiu":
        raise MotionFileError(path, f"{what} has type {values.dtype}, not numbers")
    result = values.astype(np.float64)
    bad = np.argwhere(~np.isfinite(result))
    if len(bad):
        place = ", ".join(str(int(i)) for i in bad[0])
        raise MotionFileError(path, f"{what}[{place}] is not a finite number ({len(bad)} such values)")
    return result
