"""Storage of our own in a temporary folder, clips and prompts to put into it, and jobs done without learning."""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from service.settings import Settings
from service.storage.records import JobRecord, JobState, PromptRecord
from service.storage.store import Storage, TenantRepository
from skeleton_prompt.clips.clip import Clip, parse_clip
from skeleton_prompt.model.prompt_file import Calibration, Prompt, PromptRef, save_prompt

ADMIN = "admin-key-of-the-tests"
LABELS = ("squat", "wave")
BACKBONE = "b" * 64
# For modules whose promises hold wherever blobs are: `pytestmark = BOTH_KINDS`, see the fixture `blob_settings`.
BOTH_KINDS = pytest.mark.parametrize("blob_settings", ["folder", "s3"], indirect=True, scope="session")
_names = itertools.count()


@contextlib.contextmanager
def storing(folder: Path, **settings: Any) -> Iterator[Storage]:
    values = {"data_dir": folder, "admin_key": ADMIN, "secret": "s" * 32} | settings
    storage = Storage.open(Settings(**values))
    storage.migrate()
    try:
        yield storage
    finally:
        storage.close()


def tenant_of(storage: Storage) -> TenantRepository:
    """A new tenant's repository."""
    name = f"tenant-{next(_names)}"
    storage.admin.create_tenant(name)
    return storage.tenant(name)


def change(storage: Storage, sql: str, **values: Any) -> None:
    """Change rows behind the repositories' back, on either database; ``:name`` stands for a value."""
    with storage.database.write() as connection:
        connection.execute(text(sql), values)


def clip(label: str | None = "wave", seed: int = 0, **fields: Any) -> Clip:
    keypoints = np.random.default_rng(seed).normal(300, 50, (6, 17, 3)).round(1)
    keypoints[..., 2] = 0.9
    return parse_clip({"layout": "coco17", "keypoints": keypoints.tolist(), "label": label} | fields, teaching=True)


def prompt_file(tenant: str, version: int, seed: int = 0, marker: str = "") -> bytes:
    """A small sound prompt file: a linear part over four features."""
    rng = np.random.default_rng(seed)
    shapes = {"mean": (4,), "scale": (4,), "weight": (2, 4), "bias": (2,), "centres": (2, 2), "spread": (2,)}
    tensors = {f"linear.{name}": rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    labels = (LABELS[0], LABELS[1] + marker)
    prompt = Prompt(tenant, version, labels, False, "ridge", BACKBONE, "2026-01-01T00:00:00Z", Calibration(), tensors)
    return save_prompt(prompt)


def claimed(repository: TenantRepository, clips: tuple[str, ...] = (), worker: str = "a") -> JobRecord:
    """A new job that a worker has just taken."""
    job = repository.claim_job(repository.create_job(list(clips), {}).id, worker)
    assert job is not None
    return job


def publish(
    repository: TenantRepository, job: JobRecord, version: int, data: bytes | None = None, marker: str = ""
) -> PromptRecord:
    return repository.publish(
        job.id,
        job.token,
        version,
        prompt_file(repository.tenant, version, marker=marker) if data is None else data,
        labels=(LABELS[0], LABELS[1] + marker),
        backbone_sha256=BACKBONE,
        parameters=20,
        metrics={"accuracy": 0.9},
        report={"note": f"made by a test{marker}"},
    )


def teach(repository: TenantRepository, *, activate: bool = True, marker: str = "") -> PromptRef:
    """Go through a whole job; gives the address of what it published."""
    job = claimed(repository)
    version = repository.next_version(job.id, job.token)
    record = publish(repository, job, version, marker=marker)
    if activate:
        repository.activate(version, job_id=job.id, token=job.token)
    repository.finish_job(job.id, job.token, JobState.SUCCEEDED, version=version, activated=activate)
    return PromptRef(repository.tenant, version, record.sha256)
