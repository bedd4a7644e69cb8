"""Tenants of an older backbone are tuned again on the new one, by themselves, and are never worse off for it."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from service.backbones import old_engine
from service.retune import Retuner
from service.storage import JobKind, JobState, Storage, TenantRepository
from skeleton_prompt.backbone import Backbone, BackboneConfig, backbone_bytes, parse_backbone
from skeleton_prompt.engine import Engine
from tests.training.recordings import clips, open_storage, workplace
from training.jobs import run_job


def backbone_file(seed: int) -> bytes:
    torch.manual_seed(seed)
    return backbone_bytes(Backbone(BackboneConfig("tiny", width=32, blocks=4, heads=4)))


OLD, NEW = backbone_file(1), backbone_file(2)
ENGINES = {name: Engine(parse_backbone(data, name)) for name, data in (("old", OLD), ("new", NEW))}
OLD_SHA, NEW_SHA = (ENGINES[name].backbone_sha256 for name in ("old", "new"))


class Killed(BaseException):
    """A worker that dies on the spot."""


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    opened = open_storage(tmp_path / "data")
    opened.backbones.keep(OLD)
    yield opened
    opened.close()


@pytest.fixture
def tenant(storage: Storage) -> TenantRepository:
    """A tenant whose version 1 was made on the old backbone."""
    tenant = storage.tenant("acme")
    teach(storage, tenant)
    return tenant


def place(storage: Storage, engine: str = "new", **changes: Any) -> Any:
    return workplace(storage, engine=ENGINES[engine], old_engine=partial(old_engine, storage), **changes)


def teach(storage: Storage, tenant: TenantRepository, engine: str = "old", **options: Any) -> str:
    job = tenant.create_job(tenant.add_clips(clips(), source="tune"), options).id
    assert run_job(place(storage, engine), tenant.tenant, job) == "succeeded"
    return job


def retuner(storage: Storage, tmp_path: Path, data: bytes = NEW, sha256: str = NEW_SHA, **options: Any) -> Retuner:
    path = tmp_path / f"{sha256[:8]}.safetensors"
    path.write_bytes(data)
    return Retuner(storage, str(path), sha256, **options)


def retune(tenant: TenantRepository) -> Any:
    """The newest job that nobody asked for."""
    return next(job for job in tenant.list_jobs().items if job.kind is JobKind.NEW_BACKBONE)


def expire(storage: Storage, job: str) -> None:
    with storage.database.write() as connection:
        connection.exec_driver_sql("UPDATE jobs SET lease_until = 0 WHERE id = ?", (job,))


def test_an_active_version_of_an_older_backbone_is_tuned_again_on_the_new_one_from_its_own_clips(
    storage: Storage, tenant: TenantRepository, tmp_path: Path
) -> None:
    tenant.add_clips(clips(1, first=300), source="clips")  # stored later, and no part of the lesson
    looks: list[tuple[int, int]] = []
    look = retuner(storage, tmp_path, on_look=lambda waiting, made: looks.append((waiting, made)))
    assert look.look() == 1
    job = retune(tenant)
    assert (job.state, job.source, job.target) == (JobState.QUEUED, 1, NEW_SHA)
    assert storage.admin.unsent_jobs(15.0) == [("acme", job.id, JobKind.NEW_BACKBONE)]
    assert run_job(place(storage), "acme", job.id) == "succeeded"
    job = tenant.get_job(job.id)
    assert (job.version, job.activated) == (2, True)
    assert "held-out accuracy" in str(job.reason)
    active = tenant.active_prompt()
    assert active is not None
    assert (active.version, active.backbone_sha256) == (2, NEW_SHA)
    report = tenant.get_report(2)
    assert report["data"]["clips"] == len(clips())
    assert (report["origin"]["kind"], report["origin"]["base_version"]) == ("new_backbone", 1)
    assert report["verdict"] == {"activate": True, "reason": job.reason}
    assert look.look() == 0
    assert looks == [(1, 1), (0, 0)]


def test_a_version_that_would_be_worse_does_not_take_over_and_is_not_tried_again(
    storage: Storage, tenant: TenantRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = retuner(storage, tmp_path)
    look.look()
    real = Engine.features

    def blurred(self: Engine, *args: Any) -> Any:
        values = real(self, *args)
        noise = np.random.default_rng(len(values)).normal(size=values.shape).astype(np.float32)
        return values if self.backbone_sha256 == OLD_SHA else noise

    monkeypatch.setattr(Engine, "features", blurred)
    # The engine would not reproduce the noise, and the job would end there.
    monkeypatch.setattr("training.attempt.CANARY_TOLERANCE", np.inf)
    job = retune(tenant)
    assert run_job(place(storage), "acme", job.id) == "succeeded"
    job = tenant.get_job(job.id)
    assert (job.activated, tenant.active_prompt().version) == (False, 1)
    assert "lower than" in str(job.reason)
    assert look.look() == 0
    assert storage.backbones.waiting(NEW_SHA) == {OLD_SHA: 1}
