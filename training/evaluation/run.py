"""An evaluation from its configuration to its results: plan, what is there already, what is missing, figures."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

from training.datasets import read_set
from training.evaluation.config import EvaluationConfig
from training.evaluation.data import EvaluationData
from training.evaluation.experiments import Experiment, plan
from training.evaluation.results_store import ResultsStore
from training.evaluation.schedule import Task, run_tasks, tasks_of


class Reporter(Protocol):
    """Progress of an evaluation."""

    def planned(self, tasks: int, cells: int, there: int) -> None:
        """So many tasks are to be done for so many cells; others were there."""

    def began(self, task: Task) -> None:
        """A task began."""

    def ended(self, task: Task, error: str | None) -> None:
        """A task is done, or failed."""


class NullReporter:
    """Reporter that does nothing."""

    def planned(self, tasks: int, cells: int, there: int) -> None:
        """See ``Reporter``."""

    def began(self, task: Task) -> None:
        """See ``Reporter``."""

    def ended(self, task: Task, error: str | None) -> None:
        """See ``Reporter``."""


def evaluate(
    config: EvaluationConfig, out: Path, *, jobs: int = 1, fresh: bool = False, watch: Reporter | None = None
) -> dict[str, Any]:
    """Measure the cells that are not in ``out`` yet.

    Args:
        config: What to evaluate.
        out: Folder of ``cells.jsonl``.
        jobs: Processes.
        fresh: Measure everything anew.
        watch: Progress reporter.

    Returns:
        A JSON document: ``cells``, the lines of this configuration in its order; ``failed``, tasks with their errors;
        and what it was measured on.

    Raises:
        DatasetMissing: If a set is not there.
        FileNotFoundError: If the backbone is not.
    """
    watch = watch or NullReporter()
    material = EvaluationData(config)
    sets = [describe_set(config, name) for name in config.sets]
    sha256 = material.engine.backbone_sha256
    cells = plan(config)
    ledger = ResultsStore(out / "cells.jsonl", fresh=fresh)
    missing = [cell for cell in cells if cell.key(sha256) not in ledger.lines]
    tasks = tasks_of(material, missing)
    watch.planned(len(tasks), len(missing), len(cells) - len(missing))
    failed = []
    for done in run_tasks(material, tasks, jobs, watch.began):
        ledger.add(done.lines)
        if done.error is not None:
            failed.append({"task": done.task.name, "error": done.error})
        watch.ended(done.task, done.error)
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": f"{platform.processor() or platform.machine()}, {jobs} processes of 1 torch thread",
        "backbone": config.backbone,
        "backbone_sha256": sha256,
        "sets": sets,
        "cells": lines_of(cells, ledger, sha256),
        "failed": failed,
    }


def describe_set(config: EvaluationConfig, name: str) -> dict[str, Any]:
    """Sizes of a set, for the tables."""
    labelled = read_set(name, config.folder)
    return {
        "set": name,
        "classes": len(labelled.label_names),
        "labels": list(labelled.label_names),
        "train": len(labelled.train_indices),
        "test": len(labelled.test_indices),
        "split": labelled.form.split,
    }


def lines_of(cells: Sequence[Experiment], ledger: ResultsStore, backbone_sha256: str) -> list[dict[str, Any]]:
    """The lines of cells that are measured."""
    keys = dict.fromkeys(cell.key(backbone_sha256) for cell in cells)
    return [ledger.lines[key] for key in keys if key in ledger.lines]
