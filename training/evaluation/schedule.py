"""Runs what is missing: features first, then lessons, in as many processes as are wanted."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

import torch

from training.evaluation.config import EvaluationConfig
from training.evaluation.data import EvaluationData
from training.evaluation.episodes import run_episode
from training.evaluation.experiments import EpisodeKey, Experiment
from training.evaluation.methods import RANDOM

FeatureKey = tuple[str, str, str, bool]  # set, split, view, whether of random weights
Lines = list[dict[str, Any]]


class WorkerDied(RuntimeError):
    """A process ended in the middle of a task; what was measured before is kept."""


@dataclass(frozen=True)
class Task:
    """Something that one process does in one go.

    Attributes:
        name: For the progress bar.
        features: What to compute, if that is the task.
        cells: What to measure otherwise, all of one lesson.
        needs: Features that must be on disk before.
        alone: Whether nothing else may run meanwhile, because time is measured.
    """

    name: str
    features: FeatureKey | None = None
    cells: tuple[Experiment, ...] = ()
    needs: frozenset[FeatureKey] = frozenset()
    alone: bool = False


@dataclass(frozen=True)
class Done:
    """A finished task, with its lines or with what went wrong."""

    task: Task
    lines: Lines
    error: str | None = None


def tasks_of(material: EvaluationData, cells: Iterable[Experiment]) -> list[Task]:
    """Tasks for cells: their features set by set, each followed by the lessons; what is timed comes last."""
    lessons: dict[tuple[bool, EpisodeKey], list[Experiment]] = {}
    for cell in cells:
        lessons.setdefault((cell.protocol == "cost", cell.lesson), []).append(cell)
    named: dict[tuple[str, str, bytes, bool], FeatureKey] = {}
    tasks: dict[object, Task] = {}
    for (alone, key), mine in lessons.items():
        needs = set()
        for view in dict.fromkeys((key.taught, *(cell.asked for cell in mine))):
            rows = material.rows(key.set, key.split, view).tobytes()
            # Splits share the features of clips that they share.
            feature = named.setdefault((key.set, view, rows, key.method == RANDOM),
                                       (key.set, key.split, view, key.method == RANDOM))  # fmt: skip
            needs.add(feature)
            label = f"{key.set}: features, {view}" + (", random weights" if feature[3] else "")
            tasks.setdefault(feature, Task(label, features=feature))
        shots = key.shots or "all"
        label = f"{key.set}: {key.method}, {shots} shots, seed {key.seed}" + (f", {key.part}" if key.part else "")
        tasks[alone, key] = Task(label, cells=tuple(mine), needs=frozenset(needs), alone=alone)
    return sorted(tasks.values(), key=lambda task: task.alone)


_MATERIAL: EvaluationData | None = None


def _begin(config: EvaluationConfig) -> None:
    """The start of a worker process: one thread each, or they fight over the cores."""
    global _MATERIAL
    torch.set_num_threads(1)
    _MATERIAL = EvaluationData(config)


def _in_process(task: Task) -> Lines:
    if _MATERIAL is None:
        raise RuntimeError("the worker process was not begun")
    return perform(_MATERIAL, task)


def perform(material: EvaluationData, task: Task) -> Lines:
    """Do a task."""
    if task.features is not None:
        name, split, view, unlearnt = task.features
        material.features(name, split, view, unlearnt=unlearnt)
        return []
    if task.alone:
        from training.evaluation.cost import run_cost

        return [run_cost(material, cell) for cell in task.cells]
    return run_episode(material, task.cells)


def run_tasks(
    material: EvaluationData, tasks: Sequence[Task], jobs: int, started: Callable[[Task], None]
) -> Iterator[Done]:
    """Run all tasks; a failed task is reported and does not affect the others.

    Args:
        material: Of this process; worker processes make their own.
        tasks: From ``tasks_of``.
        jobs: Processes; 1 stays in this one.
        started: Called with every task that begins.

    Yields:
        Tasks as they are done.

    Raises:
        WorkerDied: If a process did.
    """
    if jobs <= 1:
        for task in tasks:
            started(task)
            yield _guarded(task, lambda task=task: perform(material, task))  # type: ignore[misc]
        return
    context = multiprocessing.get_context("spawn")
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # read by the libraries of the processes that are started
    try:
        with ProcessPoolExecutor(jobs, context, _begin, (material.config,)) as pool:
            yield from _pooled(pool, tasks, jobs, started)
    except BrokenProcessPool:
        raise WorkerDied("a process of the evaluation died, perhaps out of memory: try --jobs 1") from None
    finally:
        os.environ.pop("OMP_NUM_THREADS")
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before


def _pooled(
    pool: ProcessPoolExecutor, tasks: Sequence[Task], jobs: int, started: Callable[[Task], None]
) -> Iterator[Done]:
    waiting, running = deque(tasks), dict[Future[Lines], Task]()
    pending = {task.features for task in tasks if task.features is not None}
    while waiting or running:
        while len(running) < jobs and (task := _next(waiting, running, pending)) is not None:
            started(task)
            running[pool.submit(_in_process, task)] = task
        finished, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in finished:
            task = running.pop(future)
            pending.discard(task.features)
            yield _guarded(task, future.result)


def _next(waiting: deque[Task], running: dict[Future[Lines], Task], pending: set[FeatureKey]) -> Task | None:
    """The first task that may begin now, taken off the queue."""
    if any(task.alone for task in running.values()):
        return None
    for task in waiting:
        if task.alone and running:
            return None
        if not task.needs & pending:
            waiting.remove(task)
            return task
    return None


def _guarded(task: Task, result: Callable[[], Lines]) -> Done:
    try:
        return Done(task, result())
    except BrokenProcessPool:
        raise
    except Exception as error:  # one cell in thousands must not cost the others
        return Done(task, [], f"{type(error).__name__}: {error}")
