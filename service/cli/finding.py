"""What `skeleton-prompt doctor` says about one thing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `ok` is None where it is worth knowing but nothing is broken."""

    what: str
    ok: bool | None
    found: str
    advice: str = ""
