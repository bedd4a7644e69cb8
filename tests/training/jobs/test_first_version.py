"""A job publishes a first version within seconds, and a refined one that replaces it where it is not worse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import LostLease
from service.storage.records import JobState
from service.storage.store import Storage, TenantRepository
from skeleton_prompt.model.prompt_file import load_prompt
from tests.support.recordings import clips, open_storage, workplace
from tests.training.jobs.test_run import Killed, expire, queued, versions
from training.jobs.activation_policy import compared_with_first
from training.jobs.lease import Cancelled
from training.jobs.run import run_job
from training.tuning.ensembling import fit_blend_weight
from training.tuning.model_selection import candidates
from training.tuning.temporal_tuner import TemporalConfig
from training.tuning.tune import tune


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    opened = open_storage(tmp_path / "data")
    yield opened
    opened.close()


@pytest.fixture
def tenant(storage: Storage) -> TenantRepository:
    return storage.tenant("acme")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A temporal part of few steps, which is always taken; its held-out answers are those of the head."""
    monkeypatch.setattr("training.tuning.temporal_tuner.TemporalConfig", partial(TemporalConfig, steps=2, batch=4))
    monkeypatch.setattr("training.tuning.temporal_tuner.MIN_STEPS", 2)

    def taken(before: Any, *given: Any, **more: Any) -> Any:
        part, _ = fit_blend_weight(before, *given, **more)
        return replace(part, judged=replace(before, logits=before.logits[:1])), 1.0

    monkeypatch.setattr("training.tuning.tune.fit_blend_weight", taken)


def run(storage: Storage, job: str, **changes: Any) -> str:
    return run_job(workplace(storage, temporal_seconds=60.0, **changes), "acme", job)


def kinds(tenant: TenantRepository) -> list[str]:
    return [load_prompt(tenant.prompt_bytes(version)).kind for version in sorted(versions(tenant))]


@pytest.mark.usefixtures("quick")
def test_the_first_version_is_active_before_the_refinement_begins_and_the_refined_one_replaces_it(
    storage: Storage, tenant: TenantRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queued(tenant)
    seen = []

    def watched(*given: Any, **more: Any) -> Any:
        if len(given) > 3:  # with tuners: the refinement
            active = tenant.active_prompt()
            record = tenant.get_job(job)
            seen.append((record.state, record.first_version, active and active.version))
        return tune(*given, **more)

    monkeypatch.setattr("training.jobs.pipeline.tune", watched)
    assert run(storage, job) == "succeeded"
    assert seen == [(JobState.RUNNING, 1, 1)]
    record = tenant.get_job(job)
    assert (record.first_version, record.version, record.activated) == (1, 2, True)
    assert tenant.active_prompt().version == 2
    assert versions(tenant) == [2, 1]
    assert kinds(tenant)[1] == "temporal"
    assert "not lower than" in str(record.reason)
    steps = list(dict.fromkeys(event.step for event in tenant.job_events(job)))
    assert steps.index("activated") < steps.index("choose")
    assert "refined version of the same job follows" in str(tenant.get_report(1)["warnings"])


def test_progress_never_goes_back_and_an_end_is_predicted_all_the_way(
    storage: Storage, tenant: TenantRepository, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queued(tenant)
    etas = []
    real = TenantRepository.progress

    def noted(self: TenantRepository, *args: Any, **kwargs: Any) -> None:
        real(self, *args, **kwargs)
        etas.append(tenant.get_job(job).eta_seconds)

    monkeypatch.setattr(TenantRepository, "progress", noted)
    assert run(storage, job) == "succeeded"
    shares = [event.progress for event in tenant.job_events(job)]
    assert shares == sorted(shares)
    assert all(eta is not None and eta > 0 for eta in etas)
    assert set(storage.dispatch.rates()) == {"validate", "features", "first", "refine"}


def test_a_refinement_that_finds_nothing_publishes_nothing_more(
    storage: Storage, tenant: TenantRepository, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "training.tuning.tune.fit_blend_weight", lambda *given, **more: (fit_blend_weight(*given, **more)[0], -1.0)
    )
    only = partial(candidates, kinds=("ridge",))
    monkeypatch.setattr("training.tuning.tune.candidates", lambda blocks, _kinds, prior: only(blocks, prior=prior))
    job = queued(tenant)
    assert run(storage, job) == "succeeded"
    record = tenant.get_job(job)
    assert (record.first_version, record.version, record.activated) == (1, 1, True)
    assert versions(tenant) == [1]
    assert "found nothing beyond version 1" in str(record.reason)


BOUNDARIES = {
    "before the first number": ("next_version", "before", 1),
    "first number reserved": ("next_version", "after", 1),
    "before the first is published": ("publish", "before", 1),
    "first published": ("publish", "after", 1),
    "first read back": ("prompt_bytes", "after", 1),
    "first activated": ("activate", "after", 1),
    "second number reserved": ("next_version", "after", 2),
    "refined kept": ("publish", "before", 2),
    "refined published": ("publish", "after", 2),
    "refined activated": ("activate", "after", 2),
    "before the end": ("finish_job", "before", 1),
}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("death", [Killed, LostLease])
def test_a_worker_that_dies_anywhere_leaves_a_job_that_the_next_one_ends_with_the_same_two_versions(
    boundary: str,
    death: type[BaseException],
    storage: Storage,
    tenant: TenantRepository,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = queued(tenant)
    method, side, turn = BOUNDARIES[boundary]
    real: Callable[..., Any] = getattr(TenantRepository, method)
    calls = []

    def dying(self: TenantRepository, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        result = real(self, *args, **kwargs) if side == "after" or len(calls) < turn else None
        if len(calls) == turn:
            raise death("gone")
        return result

    with monkeypatch.context() as patch:
        patch.setattr(TenantRepository, method, dying)
        if death is Killed:
            with pytest.raises(Killed):
                run(storage, job)
        else:
            assert run(storage, job) == "lost"
    expire(tenant, storage, job)
    assert run(storage, job, name="worker-2") == "succeeded"
    record = tenant.get_job(job)
    assert (record.attempt, record.first_version, record.version, record.activated) == (2, 1, 2, True)
    assert versions(tenant) == [2, 1]
    assert tenant.active_prompt().version == 2
    for version in (1, 2):
        load_prompt(tenant.prompt_bytes(version), sha256=tenant.get_prompt(version).sha256)
    assert [event.step for event in tenant.job_events(job)].count("activated") == 1


def stop_refinement(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def broken(*given: Any, **more: Any) -> Any:
        if len(given) > 3:
            raise error
        return tune(*given, **more)

    monkeypatch.setattr("training.jobs.pipeline.tune", broken)


def test_a_refinement_at_its_time_limit_leaves_a_job_that_succeeded_with_its_first_version(
    storage: Storage, tenant: TenantRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.jobs.lease import TimeLimitExceeded

    stop_refinement(monkeypatch, TimeLimitExceeded("10 s"))
    job = queued(tenant)
    assert run(storage, job) == "succeeded"
    record = tenant.get_job(job)
    assert (record.state, record.version, record.first_version, record.activated) == (JobState.SUCCEEDED, 1, 1, True)
    assert "time limit" in str(record.reason)


@pytest.mark.parametrize(("error", "end"), [(Cancelled(), "cancelled"), (ZeroDivisionError(), "failed")])
def test_a_refinement_that_is_cancelled_or_fails_leaves_the_first_version_active(
    error: Exception, end: str, storage: Storage, tenant: TenantRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_refinement(monkeypatch, error)
    job = queued(tenant)
    assert run(storage, job) == end
    record = tenant.get_job(job)
    assert (record.first_version, record.version, record.activated) == (1, None, False)
    assert tenant.active_prompt().version == 1
    assert versions(tenant) == [1]


@pytest.mark.usefixtures("quick")
def test_a_version_activated_by_hand_during_the_refinement_stays_active(
    storage: Storage, tenant: TenantRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(storage, queued(tenant)) == "succeeded"

    def meanwhile(*given: Any, **more: Any) -> Any:
        if len(given) > 3:
            tenant.activate(2)
        return tune(*given, **more)

    monkeypatch.setattr("training.jobs.pipeline.tune", meanwhile)
    job = queued(tenant, activate="always")
    assert run(storage, job) == "succeeded"
    record = tenant.get_job(job)
    assert (record.first_version, record.version, record.activated) == (3, 4, False)
    assert record.reason == "another version was activated meanwhile"
    assert tenant.active_prompt().version == 2


@pytest.mark.usefixtures("quick")
def test_no_first_version_is_published_where_it_may_not_become_active(
    storage: Storage, tenant: TenantRepository
) -> None:
    job = queued(tenant, activate="never")
    assert run(storage, job) == "succeeded"
    record = tenant.get_job(job)
    assert (record.first_version, record.version, record.activated) == (None, 1, False)
    assert versions(tenant) == [1]


@pytest.mark.parametrize(("new", "old", "replaces"), [(0.8, 0.8, True), (0.81, 0.8, True), (0.5, 0.8, False)])
def test_a_refined_version_replaces_the_first_where_its_held_out_accuracy_is_not_lower(
    new: float, old: float, replaces: bool
) -> None:
    outcome: Any = type("Outcome", (), {})()
    outcome.temporal = object()
    outcome.module = None
    outcome.judged = type("Judged", (), {"right": np.array([new, new, np.nan])})()
    decision = compared_with_first(outcome, np.array([old, old, 1.0]), 7)
    assert decision.activate is replaces
    assert "version 7" in decision.reason


@pytest.mark.usefixtures("quick")
def test_one_clip_a_label_gets_a_first_version_too(storage: Storage, tenant: TenantRepository) -> None:
    job = queued(tenant, clips(1))
    assert run(storage, job) == "succeeded"
    assert tenant.get_job(job).first_version == 1
    assert tenant.active_prompt() is not None
