"""The command ``skeleton-prompt evaluate``. Nothing heavy is imported before it runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from training.evaluation.schedule import Task


def evaluate(
    profile: Annotated[
        str, typer.Option(help="quick (minutes) or full (everything); other options override it.")
    ] = "quick",
    protocols: Annotated[
        str | None,
        typer.Option(help="few-shot, occlusion, cross-layout, calibration, open-set, cost, ablation; by comma."),
    ] = None,
    sets: Annotated[str | None, typer.Option(help="Sets, separated by commas.")] = None,
    shots: Annotated[str | None, typer.Option(help="Clips per class, separated by commas; a number or all.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds of the draws, separated by commas.")] = None,
    methods: Annotated[
        str | None, typer.Option(help="Skeleton-Prompt and baselines by name, separated by commas.")
    ] = None,
    backbone: Annotated[str, typer.Option(help="A name that ships, or the path of a file.")] = "edge",
    datasets: Annotated[
        Path | None, typer.Option(envvar="SKELETON_PROMPT_DATASETS", help="Folder of the labelled sets.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder of the results; figures that are there already are not measured again.")
    ] = Path("runs/evaluation"),
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; by default one per core.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure everything anew.")] = False,
    cache: Annotated[Path | None, typer.Option(help="Folder that keeps features between runs.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Measure accuracy on labelled sets, beside other methods; writes figures, tables, targets and plots."""
    from training.datasets import DatasetMissing
    from training.evaluation.config import configure
    from training.evaluation.results import write_results
    from training.evaluation.run import evaluate as run
    from training.evaluation.schedule import WorkerDied

    try:
        config = configure(
            profile,
            protocols=protocols,
            sets=sets,
            shots=shots,
            seeds=seeds,
            methods=methods,
            folder=datasets,
            backbone=backbone,
            cache=cache,
        )
        with Bar(quiet=as_json) as bar:
            results = run(config, out, jobs=jobs or os.cpu_count() or 1, fresh=fresh, watch=bar)
    except (ValueError, DatasetMissing, FileNotFoundError, WorkerDied) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    document = write_results(results, out)
    if as_json:
        import orjson

        typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY))
    else:
        typer.echo((out / "results.md").read_text())
    for failure in results["failed"]:
        typer.echo(f"failed: {failure['task']}: {failure['error']}", err=True)
    if results["failed"]:
        raise typer.Exit(1)


class Bar:
    """One progress bar over everything that is to be done.

    Args:
        quiet: Show nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as Remaining

        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            Remaining(),
            TextColumn("{task.description}"),
        )
        self._progress = Progress(*columns, console=Console(stderr=True), disable=quiet)
        self._task = self._progress.add_task("reading", total=None)

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._progress.stop()

    def planned(self, tasks: int, cells: int, there: int) -> None:
        """See ``run.Reporter``."""
        self._progress.update(self._task, total=tasks)
        if there:
            self._progress.console.print(f"{there} figures are there already, {cells} are missing")

    def began(self, task: Task) -> None:
        """See ``run.Reporter``."""
        self._progress.update(self._task, description=task.name)

    def ended(self, task: Task, error: str | None) -> None:
        """See ``run.Reporter``."""
        self._progress.advance(self._task)
        if error:
            self._progress.console.print(f"failed: {task.name}: {error}", markup=False)
