"""The commands that training adds to the program: ``worker``, ``corpus``, ``pretrain`` and ``evaluate``.

Heavy imports happen inside the commands, so that `--help` stays fast.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.serve import DatabaseOption, use_database
from service.process.cores import limit_native_threads
from training.corpora.command import corpus
from training.evaluation.command import evaluate

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command()(worker)
    app.command()(pretrain)
    app.command()(evaluate)
    app.command()(corpus)


def worker(database_url: DatabaseOption = None) -> None:
    """Run one training worker until Ctrl-C or SIGTERM; its settings are those of the service."""
    use_database(database_url)
    limit_native_threads(os.environ)  # before numpy is loaded
    from training.jobs.worker import main

    main()


def pretrain(
    motion: Annotated[Path, typer.Argument(help="The motion corpus, motion.npz.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; a run that is there continues.")] = Path("runs/edge"),
    backbone: Annotated[str, typer.Option(help="edge or base.")] = "edge",
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps in total.")] = 2000,
    batch: Annotated[int, typer.Option(min=2, help="Motions per step and process.")] = 48,
    evaluate_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 100,
    seed: Annotated[int, typer.Option(help="Makes the run repeatable.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; by default CUDA where there is one.")] = None,
    start: Annotated[
        Path | None, typer.Option(help="A trained backbone, at most as large, to start from; else random weights.")
    ] = None,
    lift_steps: Annotated[int, typer.Option(min=0, help="How many of the steps only lift.")] = 150,
    learning_rate: Annotated[float, typer.Option(min=1e-6, help="Peak of the cosine schedule.")] = 1.5e-3,
    house_motions: Annotated[int, typer.Option(min=0, help="Motions that the house weights are learned from.")] = 2048,
    store: Annotated[Path, typer.Option(help="Where the best checkpoint and its card go.")] = Path(
        "model_store/backbone"
    ),
    as_json: AsJson = False,
) -> None:
    """Pre-train a backbone on motion capture and ship its best checkpoint; Ctrl-C stops, the same command continues."""
    from training.pretraining.distributed import joined
    from training.pretraining.model_card import ship
    from training.pretraining.plots import draw_run
    from training.pretraining.trainer import PretrainConfig, run

    config = PretrainConfig(
        motion=motion,
        out=out,
        backbone=backbone,
        steps=steps,
        batch=batch,
        evaluate_every=evaluate_every,
        seed=seed,
        device=device,
        start=start,
        lift_steps=lift_steps,
        learning_rate=learning_rate,
    )
    figures: dict[str, float] = {}
    with joined(device) as ranks, _bar(quiet=as_json or not ranks.first) as bar:
        task = bar.add_task("pre-training", total=steps)
        for figures in run(config, ranks):
            shown = f"loss {figures['total']:.3f}"
            bar.update(task, completed=figures["step"], description=f"pre-training, {shown}")
        if not ranks.first:  # the first process ships
            return
        house = bar.add_task("house weights", total=3.0)
        done = {"flat": 0.0, "deep": 0.0, "module": 0.0}

        def learned(kind: str, share: float) -> None:
            done[kind] = share
            bar.update(house, completed=sum(done.values()))

        draw_run(out)
        shipped = ship(out, store, house_motions=house_motions, progress=learned)
    _print({"out": str(out), "shipped": str(shipped), **figures}, as_json=as_json)


def _bar(*, quiet: bool) -> Any:
    from rich.console import Console
    from rich.progress import Progress

    return Progress(console=Console(stderr=True), disable=quiet, transient=True)


def _print(value: Any, *, as_json: bool) -> None:
    import orjson

    if as_json:
        print(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY, default=str).decode())
    elif isinstance(value, str):
        print(value)
    else:
        for name, entry in value.items():
            print(f"{name}: {entry}")
