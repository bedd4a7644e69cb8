"""Tenants of an older backbone are tuned again on the new one, by themselves, and are never worse off for it."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from service.backbone_loader import old_engine
from service.errors import StorageUnavailable
from service.jobs.backbone_upgrade import BackboneUpgrader
from service.storage.blobs.paths import backbone_blob
from service.storage.records import JobKind, JobState
from service.storage.store import Storage, TenantRepository
from skeleton_prompt.clips.clip import parse_clip
from skeleton_prompt.model.backbone import Backbone, BackboneConfig, backbone_bytes, parse_backbone
from skeleton_prompt.model.engine import Engine
from tests.support.recordings import MOVES, clips, document, open_storage, workplace
from training.jobs.run import run_job


def backbone_file(seed: int) -> bytes:
    torch.manual_seed(seed)
    return backbone_bytes(Backbone(BackboneConfig("tiny", width=16, blocks=4, heads=2)))


OLD, NEW = backbone_file(1), backbone_file(2)
ENGINES = {name: Engine(parse_backbone(data, name)) for name, data in (("old", OLD), ("new", NEW))}
OLD_SHA, NEW_SHA = (ENGINES[name].backbone_sha256 for name in ("old", "new"))


class Killed(BaseException):
    """A worker that dies on the spot."""


@pytest.fixture(autouse=True)
def few_canaries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two clips are held to their logits instead of eight, one forward pass each: half of a small job's time."""
    monkeypatch.setattr("training.jobs.pipeline.CANARIES", 2)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a service on the old backbone, with one tenant and their version 1."""
    folder = tmp_path_factory.mktemp("taught") / "data"
    storage = open_storage(folder)
    storage.backbones.store(OLD)
    teach(storage, storage.tenant("acme"))
    storage.close()
    return folder


@pytest.fixture
def storage(taught: Path, tmp_path: Path) -> Iterator[Storage]:
    shutil.copytree(taught, tmp_path / "data")
    opened = open_storage(tmp_path / "data", tenant=None)
    yield opened
    opened.close()


@pytest.fixture
def tenant(storage: Storage) -> TenantRepository:
    """A tenant whose version 1 was made on the old backbone."""
    return storage.tenant("acme")


def place(storage: Storage, engine: str = "new", **changes: Any) -> Any:
    return workplace(storage, engine=ENGINES[engine], old_engine=partial(old_engine, storage), **changes)


def teach(storage: Storage, tenant: TenantRepository, engine: str = "old", **options: Any) -> str:
    job = tenant.create_job(tenant.add_clips(clips(), source="tune"), options).id
    assert run_job(place(storage, engine), tenant.tenant, job) == "succeeded"
    return job


def retuner(
    storage: Storage, tmp_path: Path, data: bytes = NEW, sha256: str = NEW_SHA, **options: Any
) -> BackboneUpgrader:
    path = tmp_path / f"{sha256[:8]}.safetensors"
    path.write_bytes(data)
    return BackboneUpgrader(storage, str(path), sha256, **options)


def retune(tenant: TenantRepository) -> Any:
    """The newest job that nobody asked for."""
    return next(job for job in tenant.list_jobs().items if job.kind is JobKind.BACKBONE_UPGRADE)


def expire(storage: Storage, job: str) -> None:
    with storage.database.write() as connection:
        connection.exec_driver_sql("UPDATE jobs SET lease_until = 0 WHERE id = ?", (job,))


def test_an_active_version_of_an_older_backbone_is_tuned_again_on_the_new_one_from_its_own_clips(
    storage: Storage, tenant: TenantRepository, tmp_path: Path
) -> None:
    tenant.add_clips(clips(1, first=300), source="clips")  # stored later, and no part of the lesson
    looks: list[tuple[int, int]] = []
    look = retuner(storage, tmp_path, on_look=lambda waiting, made: looks.append((waiting, made)))
    assert look.run_once() == 1
    job = retune(tenant)
    assert (job.state, job.source, job.target) == (JobState.QUEUED, 1, NEW_SHA)
    assert storage.dispatch.unsent_jobs(15.0) == [("acme", job.id, JobKind.BACKBONE_UPGRADE)]
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
    assert look.run_once() == 0
    assert looks == [(1, 1), (0, 0)]


def test_a_version_that_would_be_worse_does_not_take_over_and_is_not_tried_again(
    storage: Storage, tenant: TenantRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = retuner(storage, tmp_path)
    look.run_once()
    real = Engine.features

    def blurred(self: Engine, *args: Any) -> Any:
        values = real(self, *args)
        noise = np.random.default_rng(len(values)).normal(size=values.shape).astype(np.float32)
        return values if self.backbone_sha256 == OLD_SHA else noise

    monkeypatch.setattr(Engine, "features", blurred)
    # The engine would not reproduce the noise, and the job would end there.
    monkeypatch.setattr("training.jobs.pipeline.CANARY_TOLERANCE", np.inf)
    job = retune(tenant)
    assert run_job(place(storage), "acme", job.id) == "succeeded"
    job = tenant.get_job(job.id)
    assert (job.activated, tenant.active_prompt().version) == (False, 1)
    assert "lower than" in str(job.reason)
    assert look.run_once() == 0
    assert storage.backbones.waiting(NEW_SHA) == {OLD_SHA: 1}


BOUNDARIES = {
    "features kept": "save_checkpoint",
    "version numbered": "next_version",
    "published": "publish",
    "activated": "activate",
}


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_worker_that_dies_in_the_middle_costs_an_attempt_and_the_tenant_nothing(
    boundary: str, storage: Storage, tenant: TenantRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = retuner(storage, tmp_path)
    look.run_once()
    job = retune(tenant).id
    method = BOUNDARIES[boundary]
    real = getattr(TenantRepository, method)

    def dying(self: TenantRepository, *args: Any, **kwargs: Any) -> Any:
        real(self, *args, **kwargs)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(TenantRepository, method, dying)
        with pytest.raises(Killed):
            run_job(place(storage), "acme", job)
    assert tenant.active_prompt().version == (2 if boundary == "activated" else 1)
    assert look.run_once() == 0, "the job is still the tenant's only one"
    expire(storage, job)
    assert storage.dispatch.orphaned_jobs() == [("acme", job, JobKind.BACKBONE_UPGRADE)]
    assert run_job(place(storage, name="worker-2"), "acme", job) == "succeeded"
    done = tenant.get_job(job)
    assert (done.attempt, done.version, done.activated, tenant.active_prompt().version) == (2, 2, True, 2)
    assert [record.version for record in tenant.list_prompts().items] == [2, 1]


def test_gateways_that_notice_at_once_make_one_job(storage: Storage, tenant: TenantRepository, tmp_path: Path) -> None:
    looks = [retuner(storage, tmp_path) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(BackboneUpgrader.run_once, looks)) == 1
    assert [job.kind for job in tenant.list_jobs().items] == [JobKind.BACKBONE_UPGRADE, JobKind.TUNE]


def test_no_more_jobs_are_open_at_once_than_the_setting_says(
    storage: Storage, tenant: TenantRepository, taught: Path, tmp_path: Path
) -> None:
    with storage.database.write() as connection:  # four more tenants with the same version
        for n in range(4):
            for table, columns in {
                "tenants": "id, name, created, active_version, last_version",
                "prompts": "tenant, version, sha256, backbone_sha256, labels, parameters, bytes, created, metrics, "
                "report, job",
            }.items():
                owner, *others = columns.split(", ")
                connection.exec_driver_sql(
                    f"INSERT INTO {table} ({columns}) SELECT 'more-{n}', {', '.join(others)} FROM {table} "  # noqa: S608
                    f"WHERE {owner} = 'acme'"
                )
    assert retuner(storage, tmp_path, most=0).run_once() == 0
    look = retuner(storage, tmp_path, most=2)
    assert [look.run_once(), look.run_once()] == [2, 0]
    assert run_job(place(storage), "acme", retune(tenant).id) == "succeeded"
    assert look.run_once() == 1


def test_a_tenant_that_is_erased_while_their_version_is_tuned_again_is_gone_whole(
    storage: Storage, tenant: TenantRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    retuner(storage, tmp_path).run_once()
    job = retune(tenant).id
    real = Engine.features

    def erasing(self: Engine, *args: Any) -> Any:
        if self is ENGINES["new"]:
            monkeypatch.setattr(Engine, "features", real)
            storage.admin.delete_tenant("acme")
        return real(self, *args)

    monkeypatch.setattr(Engine, "features", erasing)
    assert run_job(place(storage), "acme", job) == "lost"
    assert storage.blobs.names("tenants") == []
    assert retuner(storage, tmp_path).run_once() == 0


def test_a_job_gives_way_to_a_tenant_who_taught_anew_or_switched_before_it_began(
    storage: Storage, tenant: TenantRepository, tmp_path: Path
) -> None:
    look = retuner(storage, tmp_path)
    look.run_once()
    job = retune(tenant).id
    teach(storage, tenant, activate="always")
    assert run_job(place(storage), "acme", job) == "cancelled"
    assert "version 2 is active by now" in str(tenant.get_job(job).reason)
    assert look.run_once() == 1, "the version that predicts now is of the old backbone, too"
    tenant.activate(1)
    assert run_job(place(storage), "acme", retune(tenant).id) == "cancelled"
    assert look.run_once() == 1, "a version whose job gave way may be tuned again when it predicts again"
    assert run_job(place(storage), "acme", retune(tenant).id) == "succeeded"


def test_a_switch_in_the_last_moment_stays(
    storage: Storage, tenant: TenantRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teach(storage, tenant, activate="never")
    look = retuner(storage, tmp_path)
    look.run_once()
    job = retune(tenant).id
    real = TenantRepository.publish

    def switching(self: TenantRepository, *args: Any, **kwargs: Any) -> Any:
        tenant.activate(2)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(TenantRepository, "publish", switching)
    assert run_job(place(storage), "acme", job) == "succeeded"
    done = tenant.get_job(job)
    assert (done.version, done.activated, done.reason) == (3, False, "another version was activated meanwhile")
    assert tenant.active_prompt().version == 2


def test_a_lesson_whose_clips_are_gone_leaves_the_version_where_it_is_and_says_so_once(
    storage: Storage, tenant: TenantRepository, tmp_path: Path
) -> None:
    gone = next(iter(MOVES))
    for record in tenant.list_clips(200).items:
        if record.label == gone:
            tenant.delete_clip(record.id)
    look = retuner(storage, tmp_path)
    look.run_once()
    job = retune(tenant).id
    assert run_job(place(storage), "acme", job) == "failed"
    assert repr(gone) in str(tenant.get_job(job).error)
    assert "goes on predicting" in str(tenant.get_job(job).error)
    assert (look.run_once(), tenant.active_prompt().version) == (0, 1)


def test_a_few_clips_gone_are_a_note_in_the_report(storage: Storage, tenant: TenantRepository, tmp_path: Path) -> None:
    tenant.delete_clip(tenant.list_clips(1).items[0].id)
    retuner(storage, tmp_path).run_once()
    job = retune(tenant).id
    assert run_job(place(storage), "acme", job) == "succeeded"
    report = tenant.get_report(2)
    assert report["data"]["clips"] == len(clips()) - 1
    assert "deleted" in report["data"]["skipped"][0]["reason"]


def test_a_job_that_the_tenant_cancelled_is_not_made_again(
    storage: Storage, tenant: TenantRepository, tmp_path: Path
) -> None:
    look = retuner(storage, tmp_path)
    look.run_once()
    tenant.cancel_job(retune(tenant).id)
    assert look.run_once() == 0


def test_a_tenants_own_job_goes_first_and_may_make_the_other_needless(
    storage: Storage, tenant: TenantRepository, tmp_path: Path
) -> None:
    look = retuner(storage, tmp_path)
    own = tenant.create_job([record.id for record in tenant.list_clips(200).items], {})
    assert look.run_once() == 0, "their own job is not done yet"
    assert run_job(place(storage), "acme", own.id) == "succeeded"
    assert tenant.active_prompt().backbone_sha256 == NEW_SHA
    assert look.run_once() == 0
    assert storage.backbones.waiting(NEW_SHA) == {}


def test_a_tenants_own_job_on_a_new_backbone_is_compared_with_the_old_version_on_its_own(
    storage: Storage, tenant: TenantRepository
) -> None:
    names = list(MOVES)
    noise = [
        parse_clip(document(names[i % 3], 900 + i, move=names[(i + (i // 3 < 2)) % 3]), teaching=True)
        for i in range(15)
    ]
    job = tenant.create_job(tenant.add_clips(noise, source="tune"), {})
    assert run_job(place(storage), "acme", job.id) == "succeeded"
    done = tenant.get_job(job.id)
    assert (done.activated, tenant.active_prompt().version) == (False, 1)
    assert "lower than" in str(done.reason)


def test_a_version_whose_backbone_is_lost_gives_way_to_the_new_one(
    storage: Storage, tenant: TenantRepository, tmp_path: Path
) -> None:
    path = tmp_path / "data" / "blobs" / backbone_blob(OLD_SHA)
    path.write_bytes(path.read_bytes()[:-1])
    retuner(storage, tmp_path).run_once()
    job = retune(tenant).id
    assert run_job(place(storage), "acme", job) == "succeeded"
    assert tenant.get_job(job).activated
    assert "cannot be asked" in str(tenant.get_job(job).reason)


def test_a_store_that_is_away_while_comparing_costs_an_attempt_and_activates_nothing(
    storage: Storage, tenant: TenantRepository, tmp_path: Path
) -> None:
    retuner(storage, tmp_path).run_once()
    job = retune(tenant).id

    def away(sha256: str) -> Engine:
        raise StorageUnavailable("the store does not answer")

    assert run_job(workplace(storage, engine=ENGINES["new"], old_engine=away), "acme", job) == "returned"
    assert tenant.active_prompt().version == 1
    assert run_job(place(storage), "acme", job) == "succeeded"


def test_a_worker_of_another_release_leaves_the_job_to_those_of_the_new_one(
    storage: Storage, tenant: TenantRepository, tmp_path: Path
) -> None:
    retuner(storage, tmp_path).run_once()
    job = retune(tenant).id
    assert run_job(place(storage, "old"), "acme", job) == "refused"
    assert (tenant.get_job(job).state, tenant.get_job(job).attempt) == (JobState.QUEUED, 0)
    assert run_job(place(storage), "acme", job) == "succeeded"


def age(storage: Storage, sha256: str, seconds: float) -> None:
    """Let a backbone have been seen that much earlier."""
    with storage.database.write() as connection:
        connection.exec_driver_sql(
            "UPDATE backbones SET since = since - ?, seen = seen - ? WHERE sha256 = ?", (seconds, seconds, sha256)
        )


def test_a_package_can_be_rolled_back_and_forward_again(
    storage: Storage, tenant: TenantRepository, tmp_path: Path
) -> None:
    old, new = retuner(storage, tmp_path, OLD, OLD_SHA), retuner(storage, tmp_path)
    assert [old.run_once(), new.run_once()] == [0, 1]
    assert run_job(place(storage), "acme", retune(tenant).id) == "succeeded"
    assert old.run_once() == 0, "while services of the new release run, those of the old one leave its versions alone"
    age(storage, NEW_SHA, 200)
    assert old.run_once() == 1
    assert run_job(place(storage, "old"), "acme", retune(tenant).id) == "succeeded"
    assert tenant.active_prompt().backbone_sha256 == OLD_SHA
    assert new.run_once() == 1, "forward again"
    assert run_job(place(storage), "acme", retune(tenant).id) == "succeeded"
    assert (tenant.active_prompt().version, tenant.active_prompt().backbone_sha256) == (4, NEW_SHA)


def test_jobs_for_a_backbone_that_was_rolled_back_are_taken_back_and_made_again_when_it_returns(
    storage: Storage, tenant: TenantRepository, tmp_path: Path
) -> None:
    old, new = retuner(storage, tmp_path, OLD, OLD_SHA), retuner(storage, tmp_path)
    new.run_once()
    job = retune(tenant).id
    age(storage, NEW_SHA, 200)
    assert old.run_once() == 0
    assert tenant.get_job(job).state == JobState.CANCELLED
    assert new.run_once() == 1


def test_a_job_whose_worker_died_before_a_roll_back_leaves_nothing_behind_and_holds_nobody_up(
    storage: Storage, tenant: TenantRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = retuner(storage, tmp_path, OLD, OLD_SHA), retuner(storage, tmp_path)
    new.run_once()
    job = retune(tenant).id

    def dying(*args: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("training.jobs.publication.Publication.check_canaries", dying)
        with pytest.raises(Killed):
            run_job(place(storage), "acme", job)
    age(storage, NEW_SHA, 200)
    old.run_once()
    assert tenant.get_job(job).state == JobState.PUBLISHING, "its worker may still live"
    expire(storage, job)
    old.run_once()
    assert tenant.get_job(job).state == JobState.CANCELLED
    assert [record.version for record in tenant.list_prompts().items] == [1]
    assert storage.blobs.names(f"tenants/acme/jobs/{job}") == []
    assert storage.dispatch.orphaned_jobs() == []


def test_a_worker_keeps_its_backbone_before_it_publishes_on_it(storage: Storage, tenant: TenantRepository) -> None:
    kept: list[list[int]] = []

    def keep() -> None:
        kept.append([record.version for record in tenant.list_prompts().items])

    job = tenant.create_job([record.id for record in tenant.list_clips(200).items], {})
    assert run_job(place(storage, keep_backbone=keep), "acme", job.id) == "succeeded"
    assert kept == [[1]]
