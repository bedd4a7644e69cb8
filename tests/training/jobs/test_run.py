import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import LostLease, StorageFull, StorageUnavailable
from service.storage.records import JobState
from service.storage.store import Storage, TenantRepository
from skeleton_prompt.clips.clip import Clip, parse_clip
from skeleton_prompt.clips.normalise import prepare
from skeleton_prompt.model.prompt_file import load_prompt
from tests.support.recordings import ENGINE, MOVES, clips, document, open_storage, workplace
from training.jobs.run import MAX_ATTEMPTS, run_job
from training.tuning.ensembling import fit_blend_weight
from training.tuning.temporal_tuner import TemporalConfig


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    opened = open_storage(tmp_path / "data")
    yield opened
    opened.close()


@pytest.fixture
def tenant(storage: Storage) -> TenantRepository:
    return storage.tenant("acme")


def queued(tenant: TenantRepository, given: list | None = None, **options: Any) -> str:
    ids = tenant.add_clips(clips() if given is None else given, source="tune")
    return tenant.create_job(ids, options).id


class Killed(BaseException):
    """A worker that dies on the spot: nothing of it is caught or recorded."""


@pytest.mark.slow
def test_a_prompt_with_a_temporal_part_is_published_after_its_canary_and_answers(
    storage: Storage, tenant: TenantRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.tuning.temporal_tuner.TemporalConfig", partial(TemporalConfig, steps=40, batch=8))
    # Whatever it gained, it is taken.
    monkeypatch.setattr(
        "training.tuning.tune.fit_blend_weight", lambda *given, **more: (fit_blend_weight(*given, **more)[0], 1.0)
    )
    job = queued(tenant)
    assert run_job(workplace(storage, temporal_seconds=60.0), "acme", job) == "succeeded"
    record = tenant.active_prompt()
    assert record is not None
    prompt = load_prompt(tenant.prompt_bytes(record.version), sha256=record.sha256)
    assert prompt.kind == "temporal"
    assert 0 < prompt.temporal_weight < 1
    assert prompt.metrics["head"] in {"plda", "lda", "ridge", "prototypes"}
    people = [prepare(clip)[0][0] for clip in clips()]
    logits = [ENGINE.forward([(person, prompt)])[0] for person in people]
    assert all(isinstance(row, np.ndarray) and np.isfinite(row).all() for row in logits)
    # Taught once more on the same clips, it is compared with and takes over: head is held against head.
    assert (tenant.get_job(job).first_version, record.version) == (1, 2)
    again = queued(tenant)
    assert run_job(workplace(storage, temporal_seconds=60.0), "acme", again) == "succeeded"
    taken = tenant.get_job(again)
    assert tenant.active_prompt().version == taken.version == (taken.first_version or 2) + 1


def expire(tenant: TenantRepository, storage: Storage, job: str) -> None:
    """Let the lease of a job run out now."""
    from sqlalchemy import update

    from service.storage.sql.tables import jobs

    with storage.database.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job).values(lease_until=0.0))


def versions(tenant: TenantRepository) -> list[int]:
    return [record.version for record in tenant.list_prompts().items]


def test_a_job_ends_with_an_active_version_that_tells_new_clips(storage: Storage, tenant: TenantRepository) -> None:
    job = queued(tenant)
    assert run_job(workplace(storage), "acme", job) == "succeeded"
    record = tenant.get_job(job)
    assert (record.state, record.version, record.activated, record.progress) == (JobState.SUCCEEDED, 1, True, 1.0)
    active = tenant.active_prompt()
    assert active is not None
    assert active.labels == tuple(sorted(MOVES))
    prompt = load_prompt(tenant.prompt_bytes(1), sha256=active.sha256, backbone_sha256=ENGINE.backbone_sha256)
    fresh = clips(3, first=500)
    logits = ENGINE.forward([(prepare(clip)[0][0], prompt) for clip in fresh])
    told = [prompt.labels[int(np.asarray(row).argmax())] for row in logits]
    assert told == [clip.label for clip in fresh]
    report = tenant.get_report(1)
    assert report["accuracy"]["value"] > 0.8
    assert report["data"]["groups"] == 2
    steps = [event.step for event in tenant.job_events(job)]
    wanted = ["queued", "claimed", "validate", "features", "calibrate", "publish", "canary", "activate", "succeeded"]
    assert [step for step in dict.fromkeys(steps) if step in wanted] == wanted


BOUNDARIES = {
    "claimed": ("job_clips", "before"),
    "clips read": ("load_checkpoint", "before"),
    "features computed": ("save_checkpoint", "before"),
    "features kept": ("save_checkpoint", "after"),
    "version numbered": ("next_version", "after"),
    "before publishing": ("publish", "before"),
    "published": ("publish", "after"),
    "read back": ("prompt_bytes", "after"),
    "activated": ("activate", "after"),
    "before the end": ("finish_job", "before"),
}


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("death", [Killed, LostLease])
def test_a_worker_that_dies_anywhere_leaves_a_job_that_the_next_one_ends_with_exactly_one_version(
    boundary: str,
    death: type[BaseException],
    storage: Storage,
    tenant: TenantRepository,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = queued(tenant)
    method, side = BOUNDARIES[boundary]
    real: Callable[..., Any] = getattr(TenantRepository, method)

    def dying(self: TenantRepository, *args: Any, **kwargs: Any) -> Any:
        if side == "after":
            real(self, *args, **kwargs)
        raise death("gone")

    with monkeypatch.context() as patch:
        patch.setattr(TenantRepository, method, dying)
        if death is Killed:
            with pytest.raises(Killed):
                run_job(workplace(storage), "acme", job)
        else:
            assert run_job(workplace(storage), "acme", job) == "lost"
    assert run_job(workplace(storage), "acme", job) == "refused"  # while the lease of the dead lasts
    expire(tenant, storage, job)
    assert run_job(workplace(storage, name="worker-2"), "acme", job) == "succeeded"
    record = tenant.get_job(job)
    assert (record.attempt, record.version, record.activated) == (2, 1, True)
    assert versions(tenant) == [1]
    active = tenant.active_prompt()
    assert active is not None
    assert active.version == 1
    load_prompt(tenant.prompt_bytes(1), sha256=active.sha256)


def test_a_second_attempt_does_not_compute_again_what_the_first_has_kept(
    storage: Storage, tenant: TenantRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queued(tenant)

    def dying(*args: Any, **kwargs: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(TenantRepository, "publish", dying)
        with pytest.raises(Killed):
            run_job(workplace(storage), "acme", job)
    expire(tenant, storage, job)
    monkeypatch.setattr(type(ENGINE), "features", dying)
    monkeypatch.setattr("training.jobs.pipeline.tune", dying)
    assert run_job(workplace(storage), "acme", job) == "succeeded"


def test_a_frozen_worker_that_wakes_up_can_change_nothing(
    storage: Storage, tenant: TenantRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queued(tenant)
    real = TenantRepository.publish

    def frozen(self: TenantRepository, *args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(TenantRepository, "publish", real)
        expire(tenant, storage, job)
        assert run_job(workplace(storage, name="worker-2"), "acme", job) == "succeeded"
        return real(self, *args, **kwargs)

    monkeypatch.setattr(TenantRepository, "publish", frozen)
    assert run_job(workplace(storage), "acme", job) == "lost"
    assert versions(tenant) == [1]
    assert tenant.get_job(job).state == JobState.SUCCEEDED


def test_a_running_job_is_cancelled_at_its_next_step(
    storage: Storage, tenant: TenantRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queued(tenant)
    real = type(ENGINE).features

    def slow(self: Any, *args: Any) -> Any:
        tenant.cancel_job(job)
        return real(self, *args)

    monkeypatch.setattr(type(ENGINE), "features", slow)
    # The lease is renewed, and the cancel seen, every third of its length.
    monkeypatch.setattr("training.jobs.lease.Lease.check", lambda self: self._renew_once() or _check(self))
    assert run_job(workplace(storage), "acme", job) == "cancelled"
    assert tenant.get_job(job).state == JobState.CANCELLED
    assert versions(tenant) == []


def _check(lease: Any) -> None:
    from training.jobs.lease import Cancelled

    if lease._cancelled and lease.cancellable:
        raise Cancelled


def test_a_stopping_worker_gives_its_job_back(storage: Storage, tenant: TenantRepository) -> None:
    job = queued(tenant)
    stopping = threading.Event()
    stopping.set()
    assert run_job(workplace(storage, stopping=stopping), "acme", job) == "returned"
    assert tenant.get_job(job).state == JobState.QUEUED
    assert run_job(workplace(storage), "acme", job) == "succeeded"


def test_a_job_over_its_time_fails_and_says_so(storage: Storage, tenant: TenantRepository) -> None:
    job = queued(tenant, max_seconds=1e-6)
    assert run_job(workplace(storage), "acme", job) == "failed"
    assert "max_seconds" in str(tenant.get_job(job).error)


def test_a_version_that_answers_otherwise_than_while_tuning_never_becomes_active(
    storage: Storage, tenant: TenantRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = queued(tenant)
    assert run_job(workplace(storage), "acme", first) == "succeeded"
    second = queued(tenant, clips(5, first=700), activate="always")
    real = type(ENGINE).forward

    def drifting(self: Any, rows: Any) -> Any:
        read_back = any(event.step == "canary" for event in tenant.job_events(second))
        return [logits + 1e-3 * read_back for logits in real(self, rows)]

    monkeypatch.setattr(type(ENGINE), "forward", drifting)
    assert run_job(workplace(storage), "acme", second) == "failed"
    assert "does not answer as it did" in str(tenant.get_job(second).error)
    active = tenant.active_prompt()
    assert active is not None
    assert active.version == 1
    assert versions(tenant) == [1]


def test_a_damaged_file_in_the_store_fails_the_job(
    storage: Storage, tenant: TenantRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = TenantRepository.prompt_bytes
    monkeypatch.setattr(TenantRepository, "prompt_bytes", lambda self, version: real(self, version)[:-3] + b"abc")
    job = queued(tenant)
    assert run_job(workplace(storage), "acme", job) == "failed"
    assert "read back" in str(tenant.get_job(job).error)
    assert tenant.active_prompt() is None


def test_storage_that_is_away_for_a_moment_costs_an_attempt_and_a_full_one_the_job(
    storage: Storage, tenant: TenantRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(error: Exception) -> Callable[..., Any]:
        def fail(*args: Any, **kwargs: Any) -> Any:
            raise error

        return fail

    job = queued(tenant)
    with monkeypatch.context() as patch:
        patch.setattr(TenantRepository, "save_checkpoint", failing(StorageUnavailable("the database is locked")))
        assert run_job(workplace(storage), "acme", job) == "returned"
    with monkeypatch.context() as patch:
        patch.setattr(TenantRepository, "publish", failing(StorageFull("the disk is full")))
        assert run_job(workplace(storage), "acme", job) == "failed"
    assert tenant.get_job(job).error == "the disk is full"
    assert versions(tenant) == []


def test_a_job_that_kills_every_worker_is_given_up(storage: Storage, tenant: TenantRepository) -> None:
    job = queued(tenant)
    for _ in range(MAX_ATTEMPTS):
        assert tenant.claim_job(job, "doomed") is not None
        expire(tenant, storage, job)
    assert run_job(workplace(storage), "acme", job) == "failed"
    assert "never lived to finish" in str(tenant.get_job(job).error)


def test_an_unexpected_error_fails_the_job_without_its_details(
    storage: Storage, tenant: TenantRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise ZeroDivisionError("secret path /home")

    monkeypatch.setattr("training.jobs.pipeline.tune", broken)
    job = queued(tenant)
    assert run_job(workplace(storage), "acme", job) == "failed"
    assert tenant.get_job(job).error == "internal error in the worker (ZeroDivisionError)"


@pytest.mark.slow
def test_if_better_keeps_the_better_version_and_never_and_always_do_as_they_say(
    storage: Storage, tenant: TenantRepository
) -> None:
    assert run_job(workplace(storage), "acme", queued(tenant)) == "succeeded"
    # Two of every five clips carry the next label: who has learnt from clean clips is right about the other three.
    names = list(MOVES)
    noise = [
        parse_clip(document(names[i % 3], 900 + i, move=names[(i + (i // 3 < 2)) % 3]), teaching=True)
        for i in range(15)
    ]
    worse = queued(tenant, noise)
    assert run_job(workplace(storage), "acme", worse) == "succeeded"
    record = tenant.get_job(worse)
    assert (record.version, record.activated) == (2, False)
    assert "lower than" in str(record.reason)
    forced = queued(tenant, noise, activate="always")
    assert run_job(workplace(storage), "acme", forced) == "succeeded"
    assert tenant.active_prompt().version == 3
    kept = queued(tenant, activate="never")
    assert run_job(workplace(storage), "acme", kept) == "succeeded"
    assert tenant.active_prompt().version == 3
    other = queued(tenant, clips(labels=("legs", "left arm")))
    assert run_job(workplace(storage), "acme", other) == "succeeded"
    assert tenant.active_prompt().version == 5
    assert "labels differ" in str(tenant.get_job(other).reason)


def test_the_same_clips_and_seed_make_the_same_prompt(storage: Storage, tenant: TenantRepository) -> None:
    for _ in range(2):
        assert run_job(workplace(storage), "acme", queued(tenant, seed=3, activate="always")) == "succeeded"
    one, two = (load_prompt(tenant.prompt_bytes(version)) for version in (1, 2))
    assert one.calibration == two.calibration
    assert all(np.array_equal(one.tensors[name], two.tensors[name]) for name in one.tensors)


def test_segments_background_and_clips_with_nothing_to_see_are_each_taught_or_left_out(
    storage: Storage, tenant: TenantRepository
) -> None:
    blank = document("legs", 1)
    blank["keypoints"] = [[None] * 17 for _ in blank["keypoints"]]
    recording = document("legs", 2)
    del recording["label"]
    recording["segments"] = [
        {"label": "legs", "start": 0, "end": 0.25},
        {"label": "left arm", "start": 0.25, "end": 0.5},
    ]
    background = [parse_clip(document(None, 40 + n, move="right arm"), teaching=True) for n in range(3)]
    given = [parse_clip(one, teaching=True) for one in (blank, recording)]
    job = queued(tenant, [*clips(labels=("legs", "left arm")), *given, *background])
    assert run_job(workplace(storage), "acme", job) == "succeeded"
    report = tenant.get_report(1)
    assert report["data"] | {"skipped": None} == {
        "clips": 13, "labels": 2, "background": 3, "groups": 3, "skipped": None,
    }  # fmt: skip
    assert [row["clip"] for row in report["data"]["skipped"]] == ["legs-1"]
    assert load_prompt(tenant.prompt_bytes(1)).background


def test_one_clip_per_label_is_taught_and_one_label_is_not(storage: Storage, tenant: TenantRepository) -> None:
    job = queued(tenant, clips(1))
    assert run_job(workplace(storage), "acme", job) == "succeeded"
    assert tenant.get_report(1)["accuracy"] is None
    lonely = queued(tenant, clips(3, labels=("legs",)))
    assert run_job(workplace(storage), "acme", lonely) == "failed"
    assert "at least 2 labels" in str(tenant.get_job(lonely).error)


def test_an_unknown_job_and_an_erased_tenant_are_refused(storage: Storage, tenant: TenantRepository) -> None:
    assert run_job(workplace(storage), "acme", "nothing") == "refused"
    job = queued(tenant)
    storage.admin.delete_tenant("acme")
    assert run_job(workplace(storage), "acme", job) == "refused"


def stretched(label: str, frames: int, seed: int = 0) -> Clip:
    """A clip of one frame every ten seconds, so that every frame is a window of its own."""
    given = document(label, seed)
    repeats = -(-frames // len(given["keypoints"]))
    return parse_clip(given | {"fps": 0.1, "keypoints": (given["keypoints"] * repeats)[:frames]}, teaching=True)


def test_the_longest_legal_clips_are_taught_with_bounded_windows(storage: Storage, tenant: TenantRepository) -> None:
    from training.jobs.training_examples import MAX_CLIP_WINDOWS, build_examples

    examples, _ = build_examples([("long", stretched("legs", 600))])
    assert len(examples[0].person.pose) <= MAX_CLIP_WINDOWS
    assert len(prepare(stretched("legs", 600))[0][0].pose) > MAX_CLIP_WINDOWS


def test_clips_that_are_too_long_together_fail_with_the_limit(
    storage: Storage, tenant: TenantRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.jobs.training_examples.MAX_JOB_WINDOWS", 5)
    job = queued(tenant)
    assert run_job(workplace(storage), "acme", job) == "failed"
    assert "at most 5 windows" in str(tenant.get_job(job).error)


def test_the_longest_legal_clips_stop_at_their_limit_while_features_are_computed(
    storage: Storage, tenant: TenantRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    given = [stretched(label, 600, seed) for seed, label in enumerate(("legs", "left arm"))]
    passes = []
    real = type(ENGINE).encode

    def slow(self: Any, windows: Any) -> Any:
        passes.append(len(windows.pose))
        time.sleep(0.1)
        return real(self, windows)

    monkeypatch.setattr(type(ENGINE), "encode", slow)
    job = queued(tenant, given)
    assert run_job(workplace(storage, max_seconds=0.15), "acme", job) == "failed"
    assert "max_seconds" in str(tenant.get_job(job).error)
    assert max(passes, default=0) <= 64
    assert len(passes) <= 2


def test_long_clips_are_fewer_canaries_but_one_at_least() -> None:
    from training.jobs.publication import canary_rows
    from training.jobs.training_examples import build_examples

    short, _ = build_examples([(str(n), clip) for n, clip in enumerate(clips(2))])
    long, _ = build_examples([("long", stretched("legs", 200)), ("longer", stretched("legs", 300))])
    assert len(canary_rows(short, 8)) == 6
    assert canary_rows(long, 8).tolist() == [0]
    assert canary_rows([*long[1:], *short], 8).tolist() == [0]
    assert len(canary_rows([*long[:1], *short], 8)) == 7
