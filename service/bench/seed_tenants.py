"""Fills a data folder with tenants that have a prompt each: ``python -m service.bench.seed_tenants FOLDER TENANTS``.

Nothing is taught: the weights are random, the shapes are those that a tuning job gives 27 actions, so a prompt costs
the engine, the cache and the network what a taught one costs. Every tenant's numbers are its own.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skeleton_prompt.model.prompt_file import Array, Calibration, Prompt, save_prompt

if TYPE_CHECKING:
    from skeleton_prompt.model.engine import Engine

CLASSES = 27  # as many actions as UTD-MHAD has
FILTERS = 16
CURVE = 16
BLOCKS = ("house",)
TENANTS_FILE = "bench-keys.jsonl"
POOL = 1 << 20


def random_prompt(engine: Engine, tenant: str, version: int, seed: int, *, temporal: bool = True) -> Prompt:
    """A sound prompt of the shapes of a taught one.

    Args:
        engine: The engine that will run it.
        tenant: Whose it is.
        version: Its number.
        seed: Of its numbers.
        temporal: Whether it has a temporal part, as nearly every prompt has that was taught several clips a label.
    """
    numbers = _Numbers(seed)
    F = len(engine.columns(BLOCKS))
    shapes: dict[str, tuple[int, ...]] = {
        "mean": (F,), "scale": (F,), "weight": (CLASSES, F), "bias": (CLASSES,), "square": (F,), "curve": (CURVE, F),
        "bend": (CURVE,), "centres": (CLASSES, CLASSES), "spread": (CLASSES,),
    }  # fmt: skip
    tensors = {f"linear.{name}": numbers(shape) for name, shape in shapes.items()}
    tensors["linear.scale"] = np.ones(F, np.float32)
    tensors["linear.spread"] = np.ones(CLASSES, np.float32)
    if temporal:
        from skeleton_prompt.model.tensor_shapes import TEMPORAL, temporal_layers

        for name, shape in temporal_layers(FILTERS, CLASSES):
            tensors[f"{TEMPORAL}{name}.weight"] = numbers(shape)
            tensors[f"{TEMPORAL}{name}.bias"] = numbers(shape[:1])
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
        temporal_weight=0.5 if temporal else 0.0,
    )


@cache
def _pool() -> Array:
    values = np.random.default_rng(0).standard_normal(POOL, dtype=np.float32)
    return np.asarray(values, np.float16).astype(np.float32)  # as a prompt file keeps them


class _Numbers:
    """Normal numbers out of a pool, from another place for each seed: ten thousand prompts are made in minutes."""

    def __init__(self, seed: int) -> None:
        self._at = seed * 7919 % POOL

    def __call__(self, shape: tuple[int, ...]) -> Array:
        size = int(np.prod(shape))
        values = np.take(_pool(), np.arange(self._at, self._at + size), mode="wrap").reshape(shape)
        self._at += size
        inner = max(1, int(np.prod(shape[1:])))
        # By a power of two, which float16 keeps exactly.
        return values * np.float32(2.0 ** -np.ceil(np.log2(inner) / 2))


def seed(folder: Path, numbers: Iterable[int], backbone: str = "edge") -> Iterator[tuple[str, str]]:
    """Make tenants with an active prompt each in a data folder that no service uses; gives tenant and key.

    A tenant that a broken run has left half made is made anew.

    Args:
        folder: The data folder.
        numbers: Those of the tenants; each is the seed of its prompt, too.
        backbone: What the prompts are for.

    Raises:
        RuntimeError: A service uses the folder.
    """
    from service.errors import NotFound
    from service.settings import Settings
    from service.storage.records import JobState
    from service.storage.store import Storage
    from skeleton_prompt.model.engine import Engine

    engine = Engine.load(backbone, threads=1)
    storage = Storage.open(Settings(data_dir=folder))
    storage.migrate()
    try:
        for number in numbers:
            tenant = f"bench-{number:05d}"
            with suppress(NotFound):
                storage.admin.delete_tenant(tenant)
            _, _, secret = storage.admin.create_tenant(tenant)
            repository = storage.tenant(tenant)
            job = repository.claim_job(repository.create_job([], {}).id, "bench")
            if job is None:
                raise RuntimeError("another process uses this data folder")
            version = repository.next_version(job.id, job.token)
            prompt = random_prompt(engine, tenant, version, number)
            repository.publish(
                job.id, job.token, version, save_prompt(prompt), labels=prompt.labels, metrics={}, report={},
                backbone_sha256=prompt.backbone_sha256, parameters=prompt.parameters,
            )  # fmt: skip
            repository.activate(version, job_id=job.id, token=job.token)
            repository.finish_job(job.id, job.token, JobState.SUCCEEDED, version=version, activated=True)
            yield tenant, secret
    finally:
        storage.close()


def read_keys(folder: Path) -> list[str]:
    """The keys of the tenants that a data folder has, in their order."""
    path = folder / TENANTS_FILE
    if not path.is_file():
        return []
    return [json.loads(line)["key"] for line in path.read_text().splitlines()]


def main() -> None:
    """Plant until there are so many, one line on stdout for each hundred; keys go into the folder with mode 0600."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("tenants", type=int)
    given = parser.parse_args()
    numbers = range(len(read_keys(given.folder)), given.tenants)
    given.folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(given.folder / TENANTS_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "w", buffering=1) as file:
        for made, (tenant, secret) in enumerate(seed(given.folder, numbers), 1):
            file.write(json.dumps({"tenant": tenant, "key": secret}) + "\n")
            if made % 100 == 0:
                print(numbers.start + made, flush=True)


if __name__ == "__main__":
    main()
