"""`skeleton-prompt predict`: recognise the actions in clip files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.connection import KeyOption, Url, connect
from service.cli.output import AsJson, UsageError, print_json, print_table, progress


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(predict)


def predict(
    files: Annotated[list[Path], typer.Argument(help="Clip files or folders of them.", metavar="FILE...")],
    tenant: Annotated[str | None, typer.Option(help="Whose prompt to use; needed with the admin key.")] = None,
    version: Annotated[int | None, typer.Option(help="A prompt version instead of the active one.")] = None,
    top_k: Annotated[int, typer.Option(min=1, max=50, help="How many labels to list.")] = 3,
    threshold: Annotated[float | None, typer.Option(help="Instead of the calibrated threshold.")] = None,
    url: Url = None,
    key: KeyOption = None,
    as_json: AsJson = False,
) -> None:
    """Recognise the action in each clip; exits with 1 if any clip was refused."""
    from service.cli.clip_files import read_clips
    from skeleton_prompt.client import InvalidRequest, TooLarge

    clips = list(read_clips(files))
    if not clips:
        raise UsageError("There are no clips in these files.")
    rows: list[dict[str, Any]] = []
    with connect(url, key) as client:
        for path, clip in progress(clips, total=len(clips), what="predicting", quiet=as_json):
            row: dict[str, Any] = {"file": str(path), "id": clip.get("id"), "taught": clip.pop("label", None)}
            try:
                answer = client.predict(clip, top_k=top_k, version=version, threshold=threshold, tenant=tenant)
            except (InvalidRequest, TooLarge) as error:  # this clip is wrong; the others may be right
                rows.append(row | {"error": str(error), "code": error.code, "errors": error.errors})
            else:
                rows.append(row | answer.document)
    if as_json:
        print_json(rows)
    else:
        print_table([_shown(row) for row in rows], _columns(rows))
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
