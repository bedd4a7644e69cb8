"""What ours costs: a tenant's bytes, the seconds of a tuning, and the forward pass.

Timed alone on the machine as far as the evaluation is concerned: nothing else of it runs meanwhile.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from skeleton_prompt.clips.normalise import PreparedPerson
from skeleton_prompt.model.backbone import Backbone, BackboneConfig
from skeleton_prompt.model.engine import Engine
from skeleton_prompt.model.features import Windows
from skeleton_prompt.model.prompt_file import save_prompt
from training.evaluation.data import EvaluationData
from training.evaluation.episodes import draw_episode
from training.evaluation.experiments import Experiment
from training.evaluation.feature_cache import BATCH, main_person
from training.evaluation.methods import lesson_of, prompt_of
from training.module_tuner import PromptModuleTuner
from training.tuning.ensembling import MemberTuners
from training.tuning.report import Facts, build_report
from training.tuning.temporal_tuner import TemporalTuner
from training.tuning.tune import TuneConfig, tune

TUNING_CORES = 2  # what the aim for the tuning time is stated for
TIMED_SECONDS = 2.0
BASE = BackboneConfig("base", width=160, blocks=5, heads=5)


def run_cost(material: EvaluationData, cell: Experiment) -> dict[str, Any]:
    """The line of a cost cell."""
    engine = material.engine
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(min(TUNING_CORES, os.cpu_count() or 1))
        tuning = time_tuning(material, cell)
        torch.set_num_threads(1)
        labelled = material.labelled(cell.lesson.set, cell.lesson.split)
        people = [person for i in labelled.test_indices[:16] if (person := main_person(labelled, int(i))) is not None]
        forward = {
            f"clips_per_second_{batch}": clips_per_second(engine, people, batch, TIMED_SECONDS) for batch in (1, 4)
        }
    finally:
        torch.set_num_threads(before)
    backbone = sum(value.numel() for value in engine.backbone.parameters())
    base = sum(value.numel() for value in Backbone(BASE).parameters())
    return {
        "key": cell.key(engine.backbone_sha256),
        **cell.document(),
        **tuning,
        **forward,
        "macs": macs(engine, people[0]),
        "backbone_parameters": backbone,
        "base_parameters": base,
        "share_of_base": tuning["parameters"] / base,
        "backbone_sha256": engine.backbone_sha256,
    }


def time_tuning(material: EvaluationData, cell: Experiment) -> dict[str, Any]:
    """Seconds from the clips as sent to the prompt file and its report, on two cores; size of the prompt."""
    key, engine = cell.lesson, material.engine
    labelled = material.labelled(key.set, key.split)
    drawn, _ = draw_episode(material, key)
    began = time.monotonic()
    people = [person for i in drawn if (person := main_person(labelled, int(i))) is not None]
    features = engine.features(people, BATCH)
    featured = time.monotonic()
    lesson = lesson_of(labelled, features, engine.blocks, drawn)
    tuners = MemberTuners(
        TemporalTuner(engine, people, key.seed, lambda: None), PromptModuleTuner(engine, people, key.seed, lambda: None)
    )
    outcome = tune(lesson, TuneConfig(seed=key.seed), lambda *_: None, tuners)
    build_report(lesson, outcome, Facts(backbone=engine.backbone_sha256, seed=key.seed))
    prompt = prompt_of(lesson, outcome, engine.backbone_sha256)
    data = save_prompt(prompt)
    return {
        "classes": len(lesson.names),
        "clips_taught": len(drawn),
        "tuning_cores": torch.get_num_threads(),
        "tuning_seconds": time.monotonic() - began,
        "feature_seconds": featured - began,
        "parameters": prompt.parameters,
        "bytes": len(data),
        "kind": prompt.kind,
    }


def macs(engine: Engine, person: PreparedPerson) -> int:
    """Multiply-accumulates of one clip of one window, backbone and features; counted, two operations each."""
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        engine.encode(Windows.of([person], engine.device).select([0]))
    return int(counter.get_total_flops()) // 2


def clips_per_second(
    engine: Engine,
    people: Sequence[PreparedPerson],
    batch: int,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Clips per second of the forward pass on the threads that torch has, in batches, after one that is not counted."""
    chunks = [[people[(start + i) % len(people)] for i in range(batch)] for start in range(0, len(people), batch)]
    engine.features(chunks[0], batch)
    began, done = clock(), 0
    while (spent := clock() - began) < seconds or done == 0:
        engine.features(chunks[done % len(chunks)], batch)
        done += 1
    return done * batch / max(spent, 1e-9)
