"""The cells that are measured already, one JSON line each: what makes an evaluation go on where it was stopped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


class ResultsStore:
    """``cells.jsonl`` of an evaluation's folder.

    Args:
        path: The file; need not be there.
        fresh: Begin anew.
    """

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if fresh:
            path.unlink(missing_ok=True)
        self.lines = {line["key"]: line for line in self._read()}

    def _read(self) -> Iterable[dict[str, Any]]:
        """The whole lines; a half one, left by a kill in the middle of a write, is cut off and its cell done again."""
        if not self.path.exists():
            return
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with self.path.open("r+b") as file:
                file.truncate(whole)
        for text in data[:whole].splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and isinstance(line.get("key"), str):
                yield line

    def add(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Keep measured cells, at once on disk."""
        lines = [dict(line) for line in lines]
        with self.path.open("ab") as file:
            file.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
            file.flush()
        self.lines |= {line["key"]: line for line in lines}
