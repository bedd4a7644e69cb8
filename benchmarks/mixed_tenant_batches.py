"""Batches of one tenant, of 16 and of 64 tenants through ``Engine.forward``: what mixing tenants costs.

    python benchmarks/mixed_tenant_batches.py  # the rows of a batch, and rows per second by the number of tenants
    python benchmarks/mixed_tenant_batches.py --device cuda  # the same on a GPU, beside one tenant at a time

Every prompt is of the kind that a tuning job makes of 10 labels: PLDA on the house features and a temporal part of 16
filters; ``--module`` adds a prompt module to each. The variants take turns, so that other work on the machine falls
on all of them; ratios are medians over the rounds of each round's own ratio to one tenant. CPU time of the process on
a CPU, wall time on a GPU. Gate S2 wants 0.90 with 64 tenants.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from skeleton_prompt.clips.canonical_skeleton import JOINTS
from skeleton_prompt.clips.clip import parse_clip
from skeleton_prompt.clips.normalise import PreparedPerson, prepare
from skeleton_prompt.model.engine import Engine, Row
from skeleton_prompt.model.prompt_file import Calibration, Prompt, load_prompt, save_prompt
from skeleton_prompt.model.prompt_module import initial
from skeleton_prompt.model.tensor_shapes import TEMPORAL, VISIBLE_JOINT_INPUTS, temporal_layers
from skeleton_prompt.synthetic import make_clip
from skeleton_prompt.synthetic_actions import ACTIONS

FILTERS = 16
CURVE = 16  # directions of variance that PLDA keeps


def tenant(engine: Engine, seed: int, classes: int, *, temporal: bool = True, module: bool = False) -> Prompt:
    """A prompt of random numbers in the shapes of one that a tuning job makes."""
    rng = np.random.default_rng(seed)
    F, N = len(engine.columns(["house"])), classes
    shapes = {"mean": (F,), "scale": (F,), "weight": (N, F), "bias": (N,), "centres": (N, N), "spread": (N,)}
    shapes |= {"square": (F,), "curve": (CURVE, F), "bend": (CURVE,)}
    tensors = {f"linear.{name}": rng.normal(size=shape) / shape[-1] for name, shape in shapes.items()}
    if temporal:
        for name, shape in temporal_layers(FILTERS, N):
            tensors[f"{TEMPORAL}{name}.weight"] = rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
            tensors[f"{TEMPORAL}{name}.bias"] = rng.normal(size=shape[0]) / 10
        tensors[TEMPORAL + VISIBLE_JOINT_INPUTS] = np.ones(JOINTS)
    if module:
        start = initial(engine.backbone.config.width, N, seed)
        tensors |= {f"module.{name}": value.numpy() for name, value in start.items()}
    prompt = Prompt(
        tenant=f"tenant-{seed}",
        version=1,
        labels=tuple(f"label {i}" for i in range(N)),
        background=False,
        kind="temporal" if temporal else "plda",
        backbone_sha256=engine.backbone_sha256,
        created="2026-01-01T00:00:00+00:00",
        calibration=Calibration(),
        tensors={name: value.astype(np.float32) for name, value in tensors.items()},
        blocks=("house",),
        module_weight=0.5 if module else 0.0,
        temporal_weight=0.5 if temporal else 0.0,
        temporal_weight_missing_joints=0.3 if temporal else 0.0,
    )
    return load_prompt(save_prompt(prompt))


def seconds_of(engine: Engine, work: Callable[[], object]) -> float:
    """Seconds that some work takes: of this process's CPU, or by the clock where a GPU computes."""
    clock: Callable[[], float] = time.perf_counter if engine.device.type == "cuda" else time.process_time
    began = clock()
    work()
    return clock() - began


def answered(engine: Engine, rows: Sequence[Row]) -> None:
    """Run a batch, none of whose rows may fail."""
    failed = [result for result in engine.forward(rows) if isinstance(result, Exception)]
    if failed:
        raise failed[0]


def mixed_rows(
    engine: Engine, people: list[PreparedPerson], prompts: list[Prompt], batch: int, rounds: int
) -> list[dict]:
    """Milliseconds per row of one batch size: the frozen part alone, one tenant, 16 tenants, all tenants.

    Each round is one batch of each; the people and the tenants move on from round to round.
    """
    kinds = {"frozen part": 0, "1 tenant": 1, "16 tenants": 16, f"{len(prompts)} tenants": len(prompts)}
    spent: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(-2, rounds):  # two rounds to warm up
        start = number * batch
        some = [people[(start + i) % len(people)] for i in range(batch)]
        for name, many in kinds.items():
            if many:
                rows = [(person, prompts[(start + i) % many]) for i, person in enumerate(some)]
                seconds = seconds_of(engine, partial(answered, engine, rows))
            else:
                seconds = seconds_of(engine, partial(engine.features, some, batch))
            if number >= 0:
                spent[name].append(1e3 * seconds / batch)
    frozen, one = np.array(spent["frozen part"]), np.array(spent["1 tenant"])
    return [
        {
            "batch": batch,
            "rows of": name,
            "ms_per_row": round(float(np.median(values)), 2),
            "to_frozen_part": round(float(np.median(np.array(values) / frozen)), 3),
            "throughput_to_1_tenant": round(float(np.median(one / np.array(values))), 3),
        }
        for name, values in spent.items()
    ]


def one_at_a_time(engine: Engine, people: list[PreparedPerson], prompts: list[Prompt], rounds: int) -> dict:
    """64 rows of 64 tenants, mixed against each tenant's row by itself."""
    rows = [(people[i % len(people)], prompt) for i, prompt in enumerate(prompts)]
    together, apart = [rows], [[row] for row in rows]

    def seconds(batches: list[list[Row]]) -> float:
        return seconds_of(engine, lambda: [answered(engine, batch) for batch in batches])

    seconds(together)
    ratios = [seconds(apart) / seconds(together) for _ in range(rounds)]
    return {"rows": len(rows), "mixed_to_one_at_a_time": round(float(np.median(ratios)), 2)}


def main() -> None:
    """Print a table, and a JSON line for machines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="edge")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 4, 16, 32])
    parser.add_argument("--tenants", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--no-temporal", action="store_true", help="prompts of a linear part alone")
    parser.add_argument("--module", action="store_true", help="prompts with a module")
    given = parser.parse_args()
    engine = Engine.load(given.backbone, device=given.device, threads=1)
    rng = np.random.default_rng(0)
    clips = [make_clip(action, rng) for action in [*ACTIONS] * 3][:32]
    people = [prepare(parse_clip(clip | {"keypoints": clip["keypoints"].tolist()}))[0][0] for clip in clips]
    people = [person for person in people if len(person.pose) == 1]
    prompts = [
        tenant(engine, seed, given.classes + seed % 3, temporal=not given.no_temporal, module=given.module)
        for seed in range(given.tenants)
    ]
    table = []
    for batch in given.batches:
        rows = mixed_rows(engine, people, prompts, batch, given.rounds)
        for row in rows:
            print(" | ".join(str(value) for value in row.values()), flush=True)
        table += rows
    alone = one_at_a_time(engine, people, prompts, max(1, given.rounds // 8))
    print(json.dumps({"device": str(engine.device), "torch": torch.__version__, "mixed": table} | alone))


if __name__ == "__main__":
    main()
