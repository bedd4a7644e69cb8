"""`skeleton-prompt tune`: teach a tenant from clip files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.connection import KeyOption, TenantArgument, Url, connect
from service.cli.output import AsJson, UsageError, console, show


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(tune)


def tune(
    tenant: TenantArgument,
    files: Annotated[list[Path] | None, typer.Argument(help="Labelled clip files or folders of them.")] = None,
    label: Annotated[str | None, typer.Option(help="The label of clips that carry none.")] = None,
    folder_labels: Annotated[
        bool, typer.Option("--folder-labels", help="A clip without a label takes the name of its folder.")
    ] = False,
    stored: Annotated[bool, typer.Option("--stored", help="Learn from the stored clips instead of files.")] = False,
    include_stored: Annotated[bool, typer.Option("--include-stored", help="Learn from the stored clips too.")] = False,
    activate: Annotated[str | None, typer.Option(help="if_better, always or never.")] = None,
    seed: Annotated[int | None, typer.Option(help="Makes the result repeatable.")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="Bound of the tuning time.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the clips.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait for the end of the job.")] = True,
    url: Url = None,
    key: KeyOption = None,
    as_json: AsJson = False,
) -> None:
    """Teach a tenant and wait for the new version; Ctrl-C stops waiting, not the job."""
    if bool(files) == stored:
        raise UsageError("Name files to learn from, or give --stored to learn from the clips stored so far.")
    clips = [] if stored else _labelled(files or [], label, folder_labels)
    with connect(url, key) as client:
        if dry_run:
            found = client.check(tenant, clips)
            show(found, as_json=as_json)
            raise typer.Exit(0 if found.get("valid") else 1)
        job = client.tune(
            tenant,
            clips,
            stored=stored,
            include_stored=include_stored or None,
            activate=activate,
            seed=seed,
            max_seconds=max_seconds,
        )
        if wait:
            try:
                job.wait(progress=not as_json)
            except KeyboardInterrupt:
                console(stderr=True).print(
                    f"The job goes on; cancel it with: skeleton-prompt jobs cancel {tenant} {job.id}"
                )
                raise
    show(job.info.document, as_json=as_json)


def _labelled(files: list[Path], label: str | None, folder_labels: bool) -> list[dict[str, Any]]:
    from service.cli.clip_files import read_clips

    clips = []
    for path, clip in read_clips(files):
        if "label" not in clip and "segments" not in clip:
            if label is None and not folder_labels:
                raise UsageError(f"{path}: a clip without a label; give --label or --folder-labels")
            clip["label"] = label if label is not None else path.resolve().parent.name
        clips.append(clip)
    return clips
