"""`skeleton-prompt predict`: recognise the actions in clip files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.connection import KeyOption, Url, connect
from service.cli.output import AsJson, UsageError, print_json, print_table, progress
from service.cli.read_options import with_read_options


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(with_read_options(predict))


def predict(
    reading: Any,
    files: Annotated[
        list[Path],
        typer.Argument(help="Clip files of any format (convert --list), folders, patterns.", metavar="FILE..."),
    ],
    tenant: Annotated[str | None, typer.Option(help="Whose prompt to use; needed with the admin key.")] = None,
    version: Annotated[int | None, typer.Option(help="A prompt version instead of the active one.")] = None,
    top_k: Annotated[int, typer.Option(min=1, max=50, help="How many labels to list.")] = 3,
    threshold: Annotated[float | None, typer.Option(help="Instead of the calibrated threshold.")] = None,
    url: Url = None,
    key: KeyOption = None,
    as_json: AsJson = False,
) -> None:
    """Recognise the action in each clip; exits with 1 if any clip was refused."""
    from service.cli.clip_files import Notes, quality_texts, read_file_clips
    from skeleton_prompt.client import InvalidRequest, TooLarge

    notes = Notes()
    clips = list(read_file_clips(files, reading, notes))
    if not clips:
        raise UsageError("There are no clips in these files.")
    rows: list[dict[str, Any]] = []
    with connect(url, key) as client:
        for clip in progress(clips, total=len(clips), what="predicting", quiet=as_json):
            document = dict(clip.document)
            row: dict[str, Any] = {
                "file": str(clip.path),
                "id": document.get("id"),
                "taught": document.pop("label", None),
            }
            if clip.notes:
                row["notes"] = list(clip.notes)
            try:
                answer = client.predict(document, top_k=top_k, version=version, threshold=threshold, tenant=tenant)
            except (InvalidRequest, TooLarge) as error:  # this clip is wrong; the others may be right
                rows.append(row | {"error": str(error), "code": error.code, "errors": error.errors})
            else:
                rows.append(row | answer.document)
                quality = answer.document.get("quality") or {}
                for kind in ("warning", "note"):
                    for text in quality_texts(quality.get(f"{kind}s") or ()):
                        notes.add(kind, clip.path, text)
    if as_json:
        print_json(rows)
    else:
        print_table([_shown(row) for row in rows], _columns(rows))
        notes.show()
    if any("error" in row for row in rows):
        raise typer.Exit(1)


def _columns(rows: list[dict[str, Any]]) -> list[str]:
    shown = ["file", "id", "taught", "label", "confidence", "candidates", "error"]
    return [name for name in shown if name in ("file", "label", "candidates") or any(row.get(name) for row in rows)]


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    if "error" in row:
        return row
    best = [f"{p['label']} {p['probability']:.2f}" for p in row.get("predictions", [])]
    return row | {
        "label": row.get("label") or f"unknown ({row.get('reason') or 'unlike what was taught'})",
        "candidates": best,
    }
