"""Limits that hold although the work does not look at them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.storage.records import JobRecord, JobState
from service.storage.store import Storage, TenantRepository
from tests.support.polling import eventually
from tests.support.recordings import clips, open_storage, workplace
from training.jobs.lease import Lease
from training.jobs.progress import ProgressEstimator
from training.jobs.run import run_next


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    opened = open_storage(tmp_path / "data")
    yield opened
    opened.close()


@pytest.fixture
def tenant(storage: Storage) -> TenantRepository:
    return storage.tenant("acme")


def claimed(tenant: TenantRepository, limit_s: float) -> JobRecord:
    job = tenant.claim_job(tenant.create_job([], {}).id, "stubborn", limit_s=limit_s)
    assert job is not None
    return job


def stubborn(tenant: TenantRepository, job: JobRecord, **given: Any) -> tuple[Lease, threading.Event]:
    """A lease on work that never looks at it, and whether its process was ended."""
    ended = threading.Event()
    values = {"lease_s": 0.3, "stopping": threading.Event(), "grace_s": 0.2, "abandon": ended.set, "max_seconds": 60}
    return Lease(tenant, job, **(values | given)), ended


def test_work_that_goes_on_past_its_limit_ends_the_job_and_the_process(tenant: TenantRepository) -> None:
    job = claimed(tenant, limit_s=0.1)
    lease, ended = stubborn(tenant, job, max_seconds=0.05)
    with lease:
        assert ended.wait(5)
    record = tenant.get_job(job.id)
    assert record.state is JobState.FAILED
    assert str(record.error).startswith("time_limit")


def test_work_that_ignores_a_cancellation_ends_the_job_and_the_process(tenant: TenantRepository) -> None:
    job = claimed(tenant, limit_s=60)
    lease, ended = stubborn(tenant, job)
    with lease:
        tenant.cancel_job(job.id)
        assert ended.wait(5)
    assert tenant.get_job(job.id).state is JobState.CANCELLED


def test_work_whose_job_was_ended_from_outside_ends_the_process(storage: Storage, tenant: TenantRepository) -> None:
    job = claimed(tenant, limit_s=-1)
    lease, ended = stubborn(tenant, job)
    with lease:
        assert tenant.end_overdue(job.id) is JobState.FAILED
        assert ended.wait(5)


def test_work_within_its_limits_is_left_alone(tenant: TenantRepository) -> None:
    lease, ended = stubborn(tenant, claimed(tenant, limit_s=60), lease_s=0.03, grace_s=0.03)
    with lease:
        assert not ended.wait(0.3)


def test_a_worker_serves_the_tenant_whose_turn_it_is_whatever_the_message_says(storage: Storage) -> None:
    storage.admin.create_tenant("other")
    greedy, other = storage.tenant("acme"), storage.tenant("other")
    ids = greedy.add_clips(clips(1), source="tune")
    mine = [greedy.create_job(ids, {}).id for _ in range(3)]
    assert run_next(workplace(storage), "acme", mine[0]) == "succeeded"
    theirs = other.create_job(other.add_clips(clips(1), source="tune"), {}).id
    assert other.get_job(theirs).queue_position == 0
    assert run_next(workplace(storage), "acme", mine[1]) == "succeeded"
    assert other.get_job(theirs).state is JobState.SUCCEEDED
    assert greedy.get_job(mine[1]).state is JobState.QUEUED
    for message in (theirs, mine[2]):
        assert run_next(workplace(storage), "other", message) == "succeeded"
    assert greedy.get_job(mine[2]).state is JobState.SUCCEEDED
    assert run_next(workplace(storage), "acme", mine[2]) == "refused"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("pace", [0.5, 1.0, 1.9])
def test_predictions_are_right_within_a_factor_of_two_from_five_per_cent_on(pace: float) -> None:
    clock = Clock()
    planned = {"validate": 1.0, "features": 2.0, "first": 1.0, "refine": 40.0}
    estimator = ProgressEstimator(planned, clock=clock)
    true_end = pace * sum(planned.values())
    for phase, seconds in planned.items():
        for tenth in range(10):
            progress, remaining = estimator.at(phase, tenth / 10)
            if clock.now >= 0.05 * true_end:
                left = true_end - clock.now
                assert left / 2 <= remaining <= 2 * left
                assert abs(progress - clock.now / true_end) < 0.05
            clock.now += pace * seconds / 10
    assert estimator.finish() == {phase: pytest.approx(pace * s) for phase, s in planned.items()}


def test_a_phase_that_an_earlier_attempt_did_teaches_no_rate() -> None:
    clock = Clock()
    estimator = ProgressEstimator({"features": 2.0, "tune": 1.0}, 0.4, clock)
    estimator.at("features", 0.0)
    estimator.skip("features")
    clock.now = 0.1
    assert estimator.at("tune", 0.0)[0] == 0.4
    clock.now = 1.1
    assert estimator.finish() == {"tune": pytest.approx(1.0)}


def test_a_stopped_process_is_hung_and_a_busy_one_is_not(tmp_path: Path) -> None:
    from service.process.heartbeat import Heartbeat, HeartbeatMonitor

    file = tmp_path / "beat"
    monitor = HeartbeatMonitor(file, 0.3)
    assert not monitor.is_hung(), "it has not started"
    beat = Heartbeat(file)
    beat.start()
    eventually(file.exists, "the first beat")
    lively = HeartbeatMonitor(file, 5.0)
    assert not lively.is_hung()
    monitor.is_hung()
    time.sleep(0.4)  # a beat takes a second: for this monitor the process is silent
    assert monitor.is_hung()
    monitor.reset()
    assert not monitor.is_hung()
    beat.stop()
    assert not file.exists()
