"""`skeleton-prompt convert`: clips from files of other tools into the form of the API."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.output import AsJson, UsageError, print_json, print_table, show
from service.cli.read_options import with_read_options

if TYPE_CHECKING:
    from service.cli.clip_files import Notes
    from skeleton_prompt.clips.formats import FileClip


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(with_read_options(convert))


def convert(
    reading: Any,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="SRC... DST", help="Files, folders or patterns to read; the .json or .ndjson file to write."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take only the first clips.")] = None,
    cut: Annotated[float | None, typer.Option(min=0.1, help="Cut recordings into clips of so many seconds.")] = None,
    list_formats: Annotated[bool, typer.Option("--list", help="List the formats that are read.")] = False,
    as_json: AsJson = False,
) -> None:
    """Turn files of other tools into the documents that the API takes; each is checked on the way."""
    from itertools import islice

    from service.cli.clip_files import Notes, read_file_clips, write_clips

    if list_formats:
        show_formats(as_json=as_json)
        return
    if not paths or len(paths) < 2:
        raise UsageError(
            "Name what to read and the file to write: skeleton-prompt convert SRC... DST; --list shows the formats."
        )
    *sources, target = paths
    notes = Notes()
    pieces = (piece for clip in read_file_clips(sources, reading, notes) for piece in _pieces(clip, cut))
    documents = [_checked(clip, document, notes) for clip, document in islice(pieces, limit)]
    if not documents:
        raise UsageError(f"{', '.join(map(str, sources))}: no clips")
    found: dict[str, Any] = {"written": str(target), "clips": write_clips(target, documents)}
    if as_json:
        found["notes"] = notes.lines
    show(found, as_json=as_json)
    if not as_json:
        notes.show()


def show_formats(*, as_json: bool) -> None:
    """Print the table of formats."""
    from skeleton_prompt.clips.formats import FORMATS

    rows = [
        {
            "name": form.name, "title": form.title, "files": form.files.replace("`", ""),
            "layout": form.layout.replace("`", ""), "fps": form.fps.replace("`", ""), "options": list(form.options),
        }
        for form in FORMATS
    ]  # fmt: skip
    if as_json:
        print_json(rows)
    else:
        print_table(rows, ("name", "title", "files", "layout", "fps"))


def _pieces(clip: FileClip, seconds: float | None) -> Iterator[tuple[FileClip, dict[str, Any]]]:
    """The clip, or parts of so many seconds that share a group; a last part of less than half is left out."""
    import numpy as np

    document = clip.document
    keypoints = document.get("keypoints")
    if seconds is None:
        yield clip, document
        return
    if not isinstance(keypoints, (list, np.ndarray)):
        raise UsageError(f"{clip.path}: --cut needs keypoints as nested lists or arrays")
    size = max(2, round(seconds * float(document.get("fps") or 30.0)))
    for number, start in enumerate(range(0, len(keypoints), size)):
        part = keypoints[start : start + size]
        if len(part) < 2 or (number and len(part) < size / 2):
            continue
        name = str(document.get("id") or clip.path.stem)
        own = {key: document[key][start : start + size] for key in ("track_ids", "timestamps") if document.get(key)}
        group = document.get("group") or name
        yield clip, {**document, **own, "id": f"{name}#{number}"[-128:], "group": group, "keypoints": part}


def _checked(clip: FileClip, document: dict[str, Any], notes: Notes) -> dict[str, Any]:
    """The document as the parser understood it; what looks wrong goes to the notes."""
    from service.cli.clip_files import quality_texts
    from skeleton_prompt.client.requests import clip_body
    from skeleton_prompt.clips.clip import InvalidClip, clip_document, parse_clip
    from skeleton_prompt.clips.normalise import prepare

    name = document.get("id", "a clip")
    try:
        parsed = parse_clip(clip_body(document), teaching="label" in document)
    except InvalidClip as error:
        hint = "; --cut SECONDS makes shorter clips" if any(p.rule == "too_many_frames" for p in error.problems) else ""
        raise UsageError(f"{clip.path}, {name}: {error}{hint}") from error
    try:
        _, quality = prepare(parsed)
    except InvalidClip as error:
        notes.add("warning", f"{clip.path}, {name}", str(error).removeprefix(": "))
    else:
        report = quality.to_dict()
        for kind in ("warning", "note"):
            for text in quality_texts(_unsaid(clip, report.get(f"{kind}s") or ())):
                notes.add(kind, clip.path, text)
    return clip_document(parsed)


def _unsaid(clip: FileClip, findings: Iterable[Any]) -> Iterator[Any]:
    """Findings of the quality report without those that the reader of the file has noted already."""
    said = {"fps_assumed"} if any("--fps" in note for note in clip.notes) else set()
    said |= {"fractions_without_image_size"} if any("--image-size" in note for note in clip.notes) else set()
    for finding in findings:
        if not isinstance(finding, Mapping) or finding.get("code") not in said:
            yield finding
