"""Reads clips out of files of any known format, and writes them as JSON."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from service.cli.output import UsageError, console
from skeleton_prompt.clips.formats import FileClip, FormatError, ReadOptions, Skipped, read_files

Document = dict[str, Any]
WRITTEN = (".json", ".ndjson", ".jsonl")
MAX_NOTES = 12


@dataclass
class Notes:
    """Notes and warnings about clips, each printed once with the number of clips that it is about."""

    lines: list[dict[str, str]] = field(default_factory=list)

    def add(self, kind: str, place: object, text: str) -> None:
        """Keep a line; kind is ``note`` or ``warning``."""
        self.lines.append({"kind": kind, "file": str(place), "text": text})

    def show(self) -> None:
        """Print what was kept on stderr, warnings first."""
        from rich.markup import escape

        counts = Counter((line["kind"], line["text"]) for line in self.lines)
        first: dict[tuple[str, str], str] = {}
        for line in self.lines:
            first.setdefault((line["kind"], line["text"]), line["file"])
        ordered = sorted(counts, key=lambda key: key[0] != "warning")
        for kind, text in ordered[:MAX_NOTES]:
            count = counts[kind, text]
            place = first[kind, text] + (f" and {count - 1} more" if count > 1 else "")
            colour = "yellow" if kind == "warning" else "dim"
            console(stderr=True).print(f"[{colour}]{kind}[/]  {escape(place)}: {escape(text)}")
        if len(ordered) > MAX_NOTES:
            console(stderr=True).print(f"[dim]and {len(ordered) - MAX_NOTES} more kinds of notes; see --json[/]")


def read_file_clips(
    paths: Iterable[Path], reading: ReadOptions | None = None, notes: Notes | None = None
) -> Iterator[FileClip]:
    """Each clip of each file, folder or pattern, in order.

    Args:
        paths: Files, folders and patterns.
        reading: Options of the readers.
        notes: Gets what the readers assumed, and the files of folders that were not recognised.

    Raises:
        UsageError: A file is missing, damaged, of no known format, or needs an option.
    """
    skipped = Skipped([])
    try:
        for clip in read_files(paths, reading, skipped):
            for text in clip.notes if notes is not None else ():
                notes.add("note", clip.path, text)  # type: ignore[union-attr]
            yield clip
    except FormatError as error:
        raise UsageError(str(error)) from error
    for path in skipped.paths if notes is not None else ():
        notes.add("note", path, "left out: of no known format")  # type: ignore[union-attr]


def read_clips(paths: Iterable[Path], reading: ReadOptions | None = None) -> Iterator[tuple[Path, Document]]:
    """Each clip document with its file, as :func:`read_file_clips` finds them.

    Raises:
        UsageError: As there.
    """
    for clip in read_file_clips(paths, reading):
        yield clip.path, clip.document


def quality_texts(warnings: Iterable[Any]) -> Iterator[str]:
    """Sentences of the warnings or notes of a quality report, which are texts or objects with a message."""
    for warning in warnings:
        yield (
            str(warning.get("message") or warning.get("text") or warning) if isinstance(warning, dict) else str(warning)
        )


def write_clips(path: Path, documents: Iterable[Document]) -> int:
    """Write clip documents as JSON or JSON lines, by the name of the file; gives their number.

    Raises:
        UsageError: The name ends otherwise.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    kind = suffixes[-1] if suffixes else ""
    rows = list(documents)
    if kind in (".ndjson", ".jsonl"):
        data = b"".join(
            orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE) for row in rows
        )
    elif kind == ".json":
        data = orjson.dumps(rows[0] if len(rows) == 1 else {"clips": rows}, option=orjson.OPT_SERIALIZE_NUMPY)
    else:
        raise UsageError(f"{path}: write to {', '.join(WRITTEN)}, with .gz after it to compress")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, 6, mtime=0) if path.suffix == ".gz" else data)
    return len(rows)
