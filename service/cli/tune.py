"""`skeleton-prompt tune`: teach a tenant from clip files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.connection import KeyOption, TenantArgument, Url, connect
from service.cli.output import AsJson, UsageError, console, show
from service.cli.read_options import with_read_options

if TYPE_CHECKING:
    from service.cli.clip_files import Notes
    from skeleton_prompt.clips.formats import FileClip, ReadOptions


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(with_read_options(tune))


def tune(
    reading: Any,
    tenant: TenantArgument,
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Labelled clips: files of any format (convert --list), or a folder with one folder for each label."
        ),
    ] = None,
    label: Annotated[str | None, typer.Option(help="The label of clips that carry none.")] = None,
    folder_labels: Annotated[
        bool, typer.Option("--folder-labels", help="A clip without a label takes the name of its folder.")
    ] = False,
    stored: Annotated[bool, typer.Option("--stored", help="Tune on the stored clips instead of files.")] = False,
    include_stored: Annotated[bool, typer.Option("--include-stored", help="Tune on the stored clips too.")] = False,
    activate: Annotated[str | None, typer.Option(help="if_better, always or never.")] = None,
    seed: Annotated[int | None, typer.Option(help="Makes the result repeatable.")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="Limit of the tuning time.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the clips.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait for the end of the job.")] = True,
    first: Annotated[
        bool, typer.Option("--first", help="Wait only until the first version is active; the refinement goes on.")
    ] = False,
    url: Url = None,
    key: KeyOption = None,
    as_json: AsJson = False,
) -> None:
    """Tune a new version on labelled clips and wait for it; Ctrl-C stops waiting, not the job."""
    if bool(files) == stored:
        raise UsageError("Name files to learn from, or give --stored to learn from the clips stored so far.")
    from service.cli.clip_files import Notes

    notes = Notes()
    clips = [] if stored else _labelled(files or [], label, folder_labels, reading, notes)
    if not as_json:
        notes.show()
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
                job.wait(progress=not as_json, until="first" if first else "refined")
            except KeyboardInterrupt:
                console(stderr=True).print(
                    f"The job goes on; cancel it with: skeleton-prompt jobs cancel {tenant} {job.id}"
                )
                raise
    show(job.info.document, as_json=as_json)


def _labelled(
    files: list[Path], label: str | None, folder_labels: bool, reading: ReadOptions, notes: Notes
) -> list[dict[str, Any]]:
    """Clips with labels: their own, ``--label``, or the folder below the one that was named.

    Raises:
        UsageError: A clip has no label, and neither option nor folder gives it one.
    """
    from collections import Counter

    from service.cli.clip_files import read_file_clips

    found = list(read_file_clips(files, reading, notes))
    folders = len({clip.root for clip in found if clip.root.is_dir()})
    direct = any(clip.folder_label is None for clip in found if clip.root.is_dir())
    clips = []
    taken: Counter[str] = Counter()
    for clip in found:
        document = dict(clip.document)
        if "label" not in document and "segments" not in document:
            document["label"] = label if label is not None else _folder_label(clip, folder_labels, folders, direct)
            if label is None:
                taken[document["label"]] += 1
        clips.append(document)
    if taken:
        labels = ", ".join(f"{name} ({count})" for name, count in sorted(taken.items()))
        notes.add("note", ", ".join(map(str, files)), f"labels are the names of folders: {labels}")
    return clips


def _folder_label(clip: FileClip, parent: bool, folders: int, direct: bool) -> str:
    """The label of a clip without one, from its folder.

    Args:
        clip: the clip and where it was found.
        parent: take the folder that holds the file.
        folders: how many folders were named.
        direct: some clip lies right in a folder that was named, not in one inside it.

    Raises:
        UsageError: no folder stands for a label, or it is not clear which.
    """
    if parent:
        return clip.path.resolve().parent.name
    if folders == 1 and clip.folder_label is not None:
        return clip.folder_label
    if folders > 1 and direct and clip.root.is_dir():
        return clip.root.resolve().name  # `tune acme clips/*` names one folder for each label
    raise UsageError(
        f"{clip.path}: a clip without a label; give --label or --folder-labels, or name one folder that holds one"
        " folder for each label"
    )
