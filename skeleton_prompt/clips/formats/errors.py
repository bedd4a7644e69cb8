"""Exceptions of the file readers.

FormatError                the file cannot be read as a clip; the message names file, format and way out
├── NotThisFormat          a reader found out that the file is of another format
├── AmbiguousFile          an option has to settle what the numbers mean
└── LibraryMissing         the optional extra ``formats`` is not installed
"""

from __future__ import annotations

from pathlib import Path


class FormatError(ValueError):
    """A file cannot be read as clips. The message names the file, the reason, and the way out."""

    def __init__(self, place: Path | str, reason: str) -> None:
        super().__init__(f"{place}: {reason}" if str(place) else reason)
        self.place = str(place)
        self.reason = reason


class NotThisFormat(FormatError):
    """The file turned out to be of another format than its name and first bytes suggest."""


class AmbiguousFile(FormatError):
    """The numbers of the file have several possible meanings; the message names the option that settles which."""


class LibraryMissing(FormatError):
    """A library of the optional extra ``formats`` is needed and not installed."""

    def __init__(self, place: Path | str, title: str, library: str) -> None:
        super().__init__(
            place, f"{title} is read with the library {library}: install it with pip install 'skeleton-prompt[formats]'"
        )
