"""The command ``skeleton-prompt corpus``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

SOME_BROKEN = 3  # the corpus was written, but not of every file
SHOWN = 30


def corpus(
    places: Annotated[list[Path], typer.Argument(help="Folders of AMASS, AMC/ASF and BVH files, or motion.npz files.")],
    out: Annotated[Path, typer.Option(help="The corpus to write.")] = Path("motion.npz"),
    fps: Annotated[float, typer.Option(min=10, max=120, help="Frames per second of the corpus.")] = 30.0,
    amc_fps: Annotated[
        float, typer.Option(min=10, max=1000, help="Frames per second of AMC files, which do not contain it.")
    ] = 120.0,
    asf: Annotated[Path | None, typer.Option(help="Skeleton of all AMC files; by default the one beside each.")] = None,
    smpl: Annotated[
        Path | None, typer.Option(help="SMPL, SMPL-H or SMPL-X model (.npz) for AMASS bone lengths.")
    ] = None,
    up: Annotated[str | None, typer.Option(help="y or z, where the up axis of all files is known better.")] = None,
    leave_out: Annotated[
        list[str] | None, typer.Option(help="A source to leave out; may be given several times.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Build one motion corpus from motion capture files; exits with 3 if a file could not be read."""
    from rich.console import Console
    from rich.progress import Progress

    from training.corpora.collect import CorpusOptions, build

    if up not in (None, "y", "z"):
        raise ValueError(f"--up must be y or z, not {up!r}")
    options = CorpusOptions(fps=fps, amc_fps=amc_fps, asf=asf, smpl=smpl, up=up, leave_out=frozenset(leave_out or ()))
    with Progress(console=Console(stderr=True), disable=as_json, transient=True) as bar:
        task = bar.add_task("reading")

        def tick(done: int, count: int, name: str) -> None:
            bar.update(task, completed=done, total=count, description=f"reading {name}")

        found = build(places, out, options, tick)
    report = {"out": str(out), **found.report(fps)}
    if as_json:
        import orjson

        print(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
    else:
        _show(report)
    if not any(found.held_out):
        print("No recording is held out, so pre-training cannot judge itself: bring at least two, or add motion.npz.")
    if report["broken"]:
        raise typer.Exit(SOME_BROKEN)


def _show(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True)
    table = Table("source", "clips", "recordings", "minutes", "held out, minutes", box=None, header_style="bold")
    for row in report["sources"]:
        table.add_row(escape(row["source"]), *(str(row[key]) for key in list(row)[1:]))
    console.print(table)
    for state in ("skipped", "broken"):
        for entry in report[state][:SHOWN]:
            console.print(f"{state}: {escape(entry['path'])}: {escape(entry['note'])}")
        if len(report[state]) > SHOWN:
            console.print(f"... and {len(report[state]) - SHOWN} more; --json names them all")
    notes = sorted({(entry["format"], entry["note"]) for entry in report["files"] if entry["state"] == "read"})
    for kind, note in notes[:SHOWN]:
        console.print(f"{kind}: {escape(note)}")
    console.print(
        f"{report['read']} files read, {len(report['skipped'])} skipped, {len(report['broken'])} broken;"
        f" written to {escape(report['out'])}"
    )
