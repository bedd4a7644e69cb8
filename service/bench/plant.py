"""Fills a data folder with tenants that have a prompt each: ``python -m service.bench.plant FOLDER TENANTS``.

Nothing is taught: the weights are random, the shapes are those that a tuning job gives 27 actions, so a prompt costs
the engine, the cache and the network what a taught one costs. Every tenant's numbers are its own.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skeleton_prompt.bundle import Array, Calibration, Prompt, save_prompt

if TYPE_CHECKING:
    from skeleton_prompt.engine import Engine

CLASSES = 27  # as many actions as UTD-MHAD has
FILTERS = 16
CURVE = 16
BLOCKS = ("house",)
TENANTS_FILE = "bench-tenants.json"


def made_up_prompt(engine: Engine, tenant: str, version: int, seed: int, *, temporal: bool = True) -> Prompt:
    """A sound prompt of the shapes of a taught one.

    Args:
        engine: The engine that will run it.
        tenant: Whose it is.
        version: Its number.
        seed: Of its numbers.
        temporal: Whether it has a temporal part, as nearly every prompt has that was taught several clips a label.
    """
    rng = np.random.default_rng(seed)
    F = len(engine.columns(BLOCKS))
    shapes: dict[str, tuple[int, ...]] = {
        "mean": (F,), "scale": (F,), "weight": (CLASSES, F), "bias": (CLASSES,), "square": (F,), "curve": (CURVE, F),
        "bend": (CURVE,), "centres": (CLASSES, CLASSES), "spread": (CLASSES,),
    }  # fmt: skip
    tensors = {f"linear.{name}": _numbers(rng, shape) for name, shape in shapes.items()}
    tensors["linear.scale"] = np.ones(F, np.float32)
    tensors["linear.spread"] = np.ones(CLASSES, np.float32)
    if temporal:
        from skeleton_prompt.temporal import PREFIX, layers

        for name, shape in layers(FILTERS, CLASSES):
            tensors[f"{PREFIX}{name}.weight"] = _numbers(rng, shape)
            tensors[f"{PREFIX}{name}.bias"] = _numbers(rng, shape[:1])
    return Prompt(
        tenant=tenant,
        version=version,
        labels=tuple(f"action-{number:02d}" for number in range(CLASSES)),
        background=False,
        kind="temporal" if temporal else "plda",
        backbone_sha256=engine.backbone_sha256,
        created="2026-01-01T00:00:00+00:00",
        calibration=Calibration(),
        tensors=tensors,
        blocks=BLOCKS,
        temporal=0.5 if temporal else 0.0,
    )


def _numbers(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    inner = max(1, int(np.prod(shape[1:])))
    values = rng.standard_normal(shape, dtype=np.float32) / np.sqrt(inner)
    return np.asarray(values, np.float16).astype(np.float32)  # as a prompt file keeps them


def plant(folder: Path, count: int, backbone: str = "edge", *, temporal: bool = True) -> Iterator[tuple[str, str]]:
    """Make tenants with an active prompt each in a data folder that no service uses; gives tenant and key."""
    from service.settings import Settings
    from service.storage import JobState, Storage
    from skeleton_prompt.engine import Engine

    engine = Engine.load(backbone, threads=1)
    storage = Storage.open(Settings(data_dir=folder))
    storage.migrate()
    try:
        for number in range(count):
            tenant = f"bench-{number:05d}"
            _, _, secret = storage.admin.create_tenant(tenant)
            repository = storage.tenant(tenant)
            job = repository.claim_job(repository.create_job([], {}).id, "bench")
            if job is None:
                raise RuntimeError("another process uses this data folder")
            version = repository.next_version(job.id, job.token)
            prompt = made_up_prompt(engine, tenant, version, number, temporal=temporal)
            repository.publish(
                job.id, job.token, version, save_prompt(prompt), labels=prompt.labels, metrics={}, report={},
                backbone_sha256=prompt.backbone_sha256, parameters=prompt.parameters,
            )  # fmt: skip
            repository.activate(version, job_id=job.id, token=job.token)
            repository.finish_job(job.id, job.token, JobState.SUCCEEDED, version=version, activated=True)
            yield tenant, secret
    finally:
        storage.close()


def main() -> None:
    """Plant, one line on stdout for each hundred, and leave the keys in the folder with mode 0600."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("tenants", type=int)
    given = parser.parse_args()
    keys = {}
    for number, (tenant, secret) in enumerate(plant(given.folder, given.tenants), 1):
        keys[tenant] = secret
        if number % 100 == 0:
            print(number, flush=True)
    path = given.folder / TENANTS_FILE
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(keys, file)


if __name__ == "__main__":
    main()
