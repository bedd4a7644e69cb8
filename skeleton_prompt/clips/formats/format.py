"""What a reader is: how it recognises a file, what it reads, and what the documentation says about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from skeleton_prompt.clips.formats.options import ReadOptions
from skeleton_prompt.clips.formats.recording import ReadClip, Recording
from skeleton_prompt.clips.formats.source import Source

JSON_SUFFIXES = (".json", ".ndjson", ".jsonl")


@dataclass(frozen=True)
class Format:
    """One file format.

    Attributes:
        name: short name, for ``--format``.
        title: the tool or format, as its makers write it.
        suffixes: lower-case file suffixes that may hold it.
        files: what is read, for the documentation.
        layout: where the layout comes from.
        fps: where the frames per second come from.
        detect: how surely a file is of this format, 0 to 1; reads no more than it has to.
        read: the recordings of a file.
        detect_json: the same for a parsed JSON document; None for other formats.
        read_json: the recordings of a parsed JSON document; the text names the document in messages.
        is_frame: whether a JSON document is a single frame, so that a folder of them is one recording.
        options: options that the format may need.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    files: str
    layout: str
    fps: str
    detect: Callable[[Source], float]
    read: Callable[[Source, ReadOptions], Sequence[Recording | ReadClip]]
    detect_json: Callable[[Any], float] | None = None
    read_json: Callable[[Any, ReadOptions, str], Sequence[Recording]] | None = None
    is_frame: Callable[[Any], bool] | None = None
    options: tuple[str, ...] = ()


def json_format(
    name: str,
    title: str,
    files: str,
    layout: str,
    fps: str,
    detect: Callable[[Any], float],
    read: Callable[[Any, ReadOptions, str], Sequence[Recording]],
    *,
    is_frame: Callable[[Any], bool] | None = None,
    options: tuple[str, ...] = (),
) -> Format:
    """A format that is one JSON document, or JSON lines."""

    def detect_file(source: Source) -> float:
        return detect(source.json) if source.suffix in JSON_SUFFIXES else 0.0

    def read_file(source: Source, given: ReadOptions) -> Sequence[Recording]:
        return read(source.json, given, str(source.path))

    return Format(
        name, title, JSON_SUFFIXES, files, layout, fps, detect_file, read_file, detect, read, is_frame, options
    )
