"""Labelled clips of stick people whose arms and legs tell the label, and a workplace to teach them in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from service.settings import Settings
from service.storage.store import Storage
from skeleton_prompt.clips.clip import Clip, parse_clip
from tests.support.engine_rows import small_engine
from training.jobs.context import WorkerContext

torch.set_num_threads(1)  # threads that fight over a busy core are far slower than one
ENGINE = small_engine()
STANDING = np.array(
    [
        (0, 0), (1, -1), (-1, -1), (2, 0), (-2, 0), (6, 12), (-6, 12), (8, 22), (-8, 22),
        (9, 32), (-9, 32), (4, 36), (-4, 36), (4, 52), (-4, 52), (4, 68), (-4, 68),
    ]
)  # fmt: skip
MOVES = {"left arm": (7, 9), "right arm": (8, 10), "legs": (13, 14, 15, 16)}


def document(label: str | None, seed: int, *, move: str | None = None, group: str | None = None) -> dict[str, Any]:
    """A clip in which the joints of a label move; ``move`` says which, if not those of the label."""
    rng = np.random.default_rng(seed)
    frames = int(rng.integers(16, 24))
    swing = 12 * np.sin(np.linspace(0, 6, frames) + rng.uniform(0, 6))
    points = np.repeat(STANDING[None].astype(float), frames, axis=0)
    for joint in MOVES[move or label or "legs"]:
        points[:, joint] += np.stack([swing, -abs(swing)], -1)
    points = points * rng.uniform(4, 6) + rng.normal(0, 1.0, points.shape) + 300
    result: dict[str, Any] = {"id": f"{label}-{seed}", "label": label, "layout": "coco17", "keypoints": points.tolist()}
    return result | ({"group": group} if group else {})


def clips(per_label: int = 4, labels: tuple[str, ...] = tuple(MOVES), first: int = 0) -> list[Clip]:
    """Clips of several labels, each by one of two people."""
    return [
        parse_clip(document(label, first + 10 * index + number, group=f"person {number % 2}"), teaching=True)
        for index, label in enumerate(labels)
        for number in range(per_label)
    ]


def open_storage(folder: Path, tenant: str | None = "acme") -> Storage:
    """A storage of its own with one new tenant."""
    settings = Settings(data_dir=folder, admin_key="x" * 20, secret="y" * 40, job_lease_seconds=5.0)
    storage = Storage.open(settings)
    storage.migrate()
    if tenant is not None:
        storage.admin.create_tenant(tenant, None)
    return storage


def workplace(storage: Storage, **changes: Any) -> WorkerContext:
    """A worker's workplace on the tests' engine."""
    return WorkerContext(
        **(
            {"storage": storage, "engine": ENGINE, "name": "worker-1", "lease_s": 5.0, "temporal_seconds": 0.0}
            | changes
        )
    )
