"""Fair order of the common queue, and predictions of durations."""

import math

import pytest

from service.storage.job_estimates import DEFAULT_RATES, Work, averaged, clip_windows, predicted_seconds
from service.storage.records import JobKind
from service.storage.repositories.job_order import QueuedJob, QueueState, fair_order
from tests.support.storage_fixtures import change, clip, storing, teach, tenant_of


@pytest.fixture
def storage(tmp_path, database_url):
    """A queue of its own: the order is that of all tenants."""
    with storing(tmp_path, database_url=database_url) as opened:
        yield opened


def waiting(*names: str, kind: JobKind = JobKind.TUNE) -> list[QueuedJob]:
    """Jobs named by their tenant and a number, in the order of their requests."""
    return [QueuedJob(name[0], name, kind, float(number), 10.0) for number, name in enumerate(names)]


def order(jobs: list[QueuedJob], **started: float) -> list[str]:
    return [job.id for job in fair_order(jobs, started)]


def test_the_job_of_a_tenant_that_was_not_served_yet_starts_next():
    assert order(waiting("a2", "a3", "a4", "a5", "a6", "b1"), a=100.0)[0] == "b1"


def test_tenants_take_turns_and_each_keeps_the_order_of_its_own_jobs():
    assert order(waiting("a1", "a2", "a3", "b1", "b2", "c1")) == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert order(waiting("a1", "a2", "b1"), a=5.0, b=9.0) == ["a1", "b1", "a2"]


def test_backbone_upgrades_come_last():
    upgrade = QueuedJob("z", "z1", JobKind.BACKBONE_UPGRADE, -1.0)
    assert order([upgrade, *waiting("a1", "a2")]) == ["a1", "a2", "z1"]


def test_position_and_prediction_follow_the_order():
    state = QueueState(tuple(fair_order(waiting("a2", "a3", "b1"), {"a": 1.0})), (4.0,))
    assert [job.id for job in state.order] == ["b1", "a2", "a3"]
    assert [state.place(*at) for at in (("b", "b1"), ("a", "a2"), ("a", "a3"))] == [(0, 14.0), (1, 24.0), (2, 34.0)]
    assert state.place("a", "gone") == (None, None)
    two_workers = QueueState(state.order, (4.0, 4.0))
    assert two_workers.place("a", "a2") == (1, 19.0)


def test_a_worker_is_given_the_jobs_in_fair_order(storage):
    one, two = tenant_of(storage), tenant_of(storage)
    mine = [one.create_job([], {}).id for _ in range(6)]
    assert storage.dispatch.next_jobs()[0] == (one.tenant, mine[0])
    one.claim_job(mine[0], "a")
    other = two.create_job([], {}).id
    assert two.get_job(other).queue_position == 0
    assert one.get_job(mine[1]).queue_position == 1
    assert storage.dispatch.next_jobs()[:2] == [(two.tenant, other), (one.tenant, mine[1])]


def test_jobs_whose_worker_is_lost_come_first_and_those_for_another_backbone_not_at_all(storage):
    one, two = tenant_of(storage), tenant_of(storage)
    teach(two)
    lost = one.create_job([], {}).id
    one.claim_job(lost, "a")
    new = one.create_job([], {}).id
    upgrade = two.create_backbone_upgrade(1, "c" * 64).id
    change(storage, "UPDATE jobs SET lease_until = 1 WHERE id = :id", id=lost)
    jobs = storage.dispatch.next_jobs
    assert jobs("d" * 64) == [(one.tenant, lost), (one.tenant, new)]
    assert jobs("c" * 64) == [(one.tenant, lost), (one.tenant, new), (two.tenant, upgrade)]


def test_a_longer_lesson_is_predicted_to_take_longer(storage):
    mine = tenant_of(storage)
    ids = mine.add_clips([clip(seed=seed) for seed in range(60)], source="tune")
    assert mine.create_job(ids, {}).eta_seconds > 0
    few = predicted_seconds(Work(10, 10), {}, refines=True)
    many = predicted_seconds(Work(2000, 8000), {}, refines=True)
    assert list(few) == ["validate", "features", "first", "refine"]
    assert sum(many.values()) > 3 * sum(few.values())


def test_predictions_follow_what_was_measured(storage):
    for _ in range(20):
        storage.dispatch.observe_rates({"features": 0.5, "refine": 3.0, "first": 0.0})
    rates = storage.dispatch.rates()
    assert rates == {"features": pytest.approx(0.5), "refine": pytest.approx(3.0)}
    parts = predicted_seconds(Work(10, 40), rates, refines=True)
    assert parts["features"] == pytest.approx(20.0)
    assert parts["first"] == pytest.approx(10 * DEFAULT_RATES["first"])


def test_one_slow_job_does_not_spoil_the_rates():
    assert averaged(1.0, 100.0) == pytest.approx(math.exp(0.3 * math.log(100.0)))
    assert averaged(None, 2.0) == 2.0


@pytest.mark.parametrize(("frames", "fps", "windows"), [(64, 30, 1), (301, 30, 2), (2040, 0.1, 256), (2, 1e-9, 256)])
def test_windows_of_a_clip_are_counted_and_bounded(frames, fps, windows):
    assert clip_windows(frames, fps) == windows
