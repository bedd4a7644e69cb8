from dataclasses import replace

import pytest

from service.errors import JobFinished, LostLease, NotFound, QuotaExceeded
from service.storage.records import JobState
from tests.support.storage_fixtures import change, claimed, clip, publish, storing, teach, tenant_of


@pytest.fixture
def expired(storage):
    """Ends the lease of a job, as silence of its worker does after a while."""

    def expire(job) -> None:
        change(storage, "UPDATE jobs SET lease_until = 1 WHERE id = :id", id=job.id)

    return expire


def test_a_new_job_is_queued_and_knows_its_clips_and_its_place(tmp_path, database_url):
    with storing(tmp_path, database_url=database_url) as alone:
        mine = tenant_of(alone)
        ids = mine.add_clips([clip(seed=n) for n in range(2)], source="tune")
        first, second = mine.create_job(ids, {"activate": "always"}), tenant_of(alone).create_job([], {})
        assert (first.state, first.queue_position, first.clips) == (JobState.QUEUED, 0, 2)
        assert second.queue_position == 1
        assert mine.job_clips(first.id) == ids
        assert mine.get_job(first.id).options == {"activate": "always"}


def test_a_job_is_claimed_by_one_worker_only(mine):
    job = mine.create_job([], {})
    first = mine.claim_job(job.id, "a")
    assert (first.state, first.attempt, first.token) == (JobState.RUNNING, 1, 1)
    assert mine.claim_job(job.id, "b") is None


def test_a_job_whose_lease_ran_out_is_claimed_again_with_a_higher_token(mine, expired):
    first = claimed(mine)
    expired(first)
    second = mine.claim_job(first.id, "b")
    assert (second.attempt, second.started) == (2, first.started)
    assert second.token > first.token


def untimed(mine, job_id):
    """A job and its events, without the prediction, which changes as time passes."""
    return replace(mine.get_job(job_id), eta_seconds=None), mine.job_events(job_id)


def test_every_write_with_an_old_token_is_refused(storage, mine, expired):
    old = claimed(mine)
    expired(old)
    new = mine.claim_job(old.id, "b")
    before = untimed(mine, old.id)
    for write in (
        lambda: mine.heartbeat(old.id, old.token),
        lambda: mine.progress(old.id, old.token, 0.5, "fit", "half"),
        lambda: mine.save_checkpoint(old.id, old.token, "features", b"x"),
        lambda: mine.next_version(old.id, old.token),
        lambda: publish(mine, old, 1),
        lambda: mine.activate(1, job_id=old.id, token=old.token),
        lambda: mine.release(old.id, old.token),
        lambda: mine.finish_job(old.id, old.token, JobState.SUCCEEDED),
    ):
        with pytest.raises(LostLease):
            write()
    assert untimed(mine, old.id) == before
    assert mine.load_checkpoint(old.id, "features") is None
    assert storage.blobs.names(f"tenants/{mine.tenant}") == []
    mine.progress(new.id, new.token, 0.5, "fit", "half")


def test_a_heartbeat_keeps_the_lease_and_brings_the_wish_to_cancel(mine, expired):
    job = claimed(mine)
    expired(job)
    mine.heartbeat(job.id, job.token)
    assert mine.claim_job(job.id, "b") is None
    mine.cancel_job(job.id)
    assert mine.heartbeat(job.id, job.token).cancel_requested


def test_what_happens_to_a_job_is_told_in_order_and_from_where_one_left_off(mine):
    job = claimed(mine)
    mine.progress(job.id, job.token, 0.2, "features", "clip 1 of 5")
    mine.progress(job.id, job.token, 0.9, "publish", "writing", publishing=True)
    mine.finish_job(job.id, job.token, JobState.FAILED, error="no luck")
    events = mine.job_events(job.id)
    assert [event.step for event in events] == ["queued", "claimed", "features", "publish", "failed"]
    assert [event.state.value for event in events] == ["queued", "running", "running", "publishing", "failed"]
    assert [event.id for event in events] == sorted(event.id for event in events)
    assert mine.job_events(job.id, after=events[2].id) == events[3:]
    ended = mine.get_job(job.id)
    assert (ended.error, ended.message, ended.state.final) == ("no luck", "no luck", True)


def test_a_queued_job_is_cancelled_at_once_and_cancelling_twice_is_as_once(mine):
    job = mine.create_job([], {})
    assert mine.cancel_job(job.id).state is JobState.CANCELLED
    events = mine.job_events(job.id)
    assert mine.cancel_job(job.id).state is JobState.CANCELLED
    assert mine.job_events(job.id) == events
    assert mine.claim_job(job.id, "a") is None


def test_a_cancelled_job_whose_worker_died_is_ended_instead_of_taken_up(mine, expired):
    job = claimed(mine)
    mine.cancel_job(job.id)
    expired(job)
    assert mine.claim_job(job.id, "b") is None
    assert mine.get_job(job.id).state is JobState.CANCELLED


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED])
def test_a_finished_job_cannot_be_cancelled_claimed_or_changed(mine, state):
    job = claimed(mine)
    mine.finish_job(job.id, job.token, state)
    with pytest.raises(JobFinished):
        mine.cancel_job(job.id)
    assert mine.claim_job(job.id, "b") is None
    with pytest.raises(LostLease):
        mine.finish_job(job.id, job.token, JobState.CANCELLED)


def test_a_checkpoint_is_there_for_the_next_attempt_and_gone_at_the_end(storage, mine, expired):
    first = claimed(mine)
    mine.save_checkpoint(first.id, first.token, "features", b"numbers")
    expired(first)
    second = mine.claim_job(first.id, "b")
    assert mine.load_checkpoint(second.id, "features") == b"numbers"
    assert mine.load_checkpoint(second.id, "other") is None
    mine.finish_job(second.id, second.token, JobState.SUCCEEDED)
    assert storage.blobs.names(f"tenants/{mine.tenant}") == []


@pytest.mark.parametrize("name", ["", "../x", "a/b", "A", "x" * 33])
def test_a_checkpoint_name_that_is_a_path_is_refused(mine, name):
    job = claimed(mine)
    with pytest.raises(ValueError, match="not a checkpoint name"):
        mine.save_checkpoint(job.id, job.token, name, b"x")


def test_a_checkpoint_that_crossed_an_erasure_leaves_no_file(storage, mine, monkeypatch):
    job = claimed(mine)
    write = storage.blobs.write

    def erase_then_write(name: str, data: bytes) -> None:
        storage.admin.delete_tenant(mine.tenant)
        write(name, data)

    monkeypatch.setattr(storage.blobs, "write", erase_then_write)
    with pytest.raises(LostLease):
        mine.save_checkpoint(job.id, job.token, "features", b"numbers")
    assert storage.blobs.names(f"tenants/{mine.tenant}") == []


def test_a_job_given_back_is_queued_again_and_its_token_is_spent(mine):
    job = claimed(mine)
    mine.release(job.id, job.token)
    assert mine.get_job(job.id).state is JobState.QUEUED
    with pytest.raises(LostLease):
        mine.heartbeat(job.id, job.token)
    again = mine.claim_job(job.id, "b")
    assert again.token > job.token


def test_a_job_gets_the_same_version_at_every_attempt_and_no_other_job_gets_it(mine, expired):
    first = claimed(mine)
    version = mine.next_version(first.id, first.token)
    expired(first)
    second = mine.claim_job(first.id, "b")
    assert mine.next_version(second.id, second.token) == version
    third = claimed(mine)
    assert mine.next_version(third.id, third.token) == version + 1


def test_jobs_are_paged_newest_first(mine):
    made = [mine.create_job([], {}).id for _ in range(5)]
    page = mine.list_jobs(limit=3)
    rest = mine.list_jobs(limit=3, after=page.next)
    assert [job.id for job in page.items + rest.items] == sorted(made, reverse=True)
    assert rest.next is None


def test_another_tenants_job_is_as_absent_as_one_that_never_was(mine, other):
    job = claimed(other)
    said = []
    for job_id in (job.id, "never"):
        for ask in (mine.get_job, mine.cancel_job, mine.job_clips):
            with pytest.raises(NotFound) as refused:
                ask(job_id)
            said.append(refused.value.problem("same"))
        assert mine.claim_job(job_id, "x") is None
        assert mine.job_events(job_id) == []
        with pytest.raises(LostLease):
            mine.heartbeat(job_id, job.token)
    assert all(words == said[0] for words in said)
    assert mine.list_jobs().items == []


def test_a_job_for_a_tenant_that_is_gone_is_refused(storage):
    with pytest.raises(NotFound):
        storage.tenant("never-made").create_job([], {})


def test_the_end_of_a_job_is_predicted_while_it_is_queued_and_while_it_runs(mine):
    queued = mine.create_job([], {})
    assert queued.eta_seconds > 0
    job = mine.claim_job(queued.id, "a")
    assert 0 < mine.get_job(job.id).eta_seconds <= queued.eta_seconds, "others may have been before it"
    mine.progress(job.id, job.token, 0.5, "fit", "half", remaining_s=7.0)
    assert mine.get_job(job.id).eta_seconds == pytest.approx(7.0, abs=1)
    mine.finish_job(job.id, job.token, JobState.FAILED, error="broken")
    assert mine.get_job(job.id).eta_seconds is None


def test_a_job_that_takes_longer_than_predicted_still_has_an_end_ahead(mine):
    job = claimed(mine)
    mine.progress(job.id, job.token, 0.5, "fit", "half", remaining_s=-5.0)
    assert mine.get_job(job.id).eta_seconds == 1.0


def test_progress_never_goes_back(mine, expired):
    job = claimed(mine)
    mine.progress(job.id, job.token, 0.6, "fit", "far")
    mine.progress(job.id, job.token, 0.1, "validate", "again")
    assert mine.get_job(job.id).progress == 0.6


def test_an_attempt_past_its_deadline_is_ended_and_its_worker_can_write_nothing(storage, mine):
    job = mine.claim_job(mine.create_job([], {}).id, "hung", limit_s=-1.0)
    assert storage.dispatch.overdue_jobs() == [(mine.tenant, job.id)]
    assert mine.end_overdue(job.id) is JobState.FAILED
    assert mine.get_job(job.id).error.startswith("time_limit")
    assert mine.end_overdue(job.id) is None
    assert storage.dispatch.overdue_jobs() == []
    with pytest.raises(LostLease):
        mine.progress(job.id, job.token, 0.9, "fit", "late")


def test_a_job_within_its_deadline_or_with_a_dead_worker_is_not_ended(storage, mine, expired):
    job = mine.claim_job(mine.create_job([], {}).id, "a", limit_s=60.0)
    assert mine.end_overdue(job.id) is None
    expired(job)
    assert storage.dispatch.overdue_jobs() == []
    dead = mine.claim_job(mine.create_job([], {}).id, "b", limit_s=5.0)
    change(storage, "UPDATE jobs SET lease_until = 0, deadline = 1 WHERE id = :id", id=dead.id)
    assert storage.dispatch.overdue_jobs() == [], "its lease ran out before its deadline: another attempt follows"


def test_an_attempt_past_its_deadline_keeps_the_first_version_that_is_active(storage, mine):
    job = mine.claim_job(mine.create_job([], {}).id, "hung", limit_s=-1.0)
    version = mine.next_version(job.id, job.token, first=True)
    publish(mine, job, version)
    assert mine.activate(version, job_id=job.id, token=job.token, first=True)
    assert mine.get_job(job.id).first_version == version
    assert mine.end_overdue(job.id) is JobState.SUCCEEDED
    record = mine.get_job(job.id)
    assert (record.version, record.activated) == (version, True)
    assert mine.active_prompt().version == version


def test_both_versions_of_a_job_have_numbers_of_their_own_at_every_attempt(mine, expired):
    job = claimed(mine)
    first, second = mine.next_version(job.id, job.token, first=True), mine.next_version(job.id, job.token)
    assert second == first + 1
    expired(job)
    again = mine.claim_job(job.id, "b")
    assert mine.next_version(again.id, again.token, first=True) == first
    assert mine.next_version(again.id, again.token) == second


def test_a_failed_or_cancelled_job_keeps_its_first_version_even_where_another_is_active_now(mine):
    before = teach(mine)
    job = claimed(mine)
    first = mine.next_version(job.id, job.token, first=True)
    publish(mine, job, first)
    mine.activate(first, job_id=job.id, token=job.token, first=True)
    refined = mine.next_version(job.id, job.token)
    publish(mine, job, refined)
    mine.activate(before.version)
    mine.finish_job(job.id, job.token, JobState.FAILED, error="broken")
    assert [one.version for one in mine.list_prompts().items] == [first, before.version]


def test_a_rollback_passes_over_both_versions_of_a_job(mine):
    before = teach(mine)
    job = claimed(mine)
    for is_first in (True, False):
        version = mine.next_version(job.id, job.token, first=is_first)
        publish(mine, job, version)
        assert mine.activate(version, job_id=job.id, token=job.token, first=is_first)
    mine.finish_job(job.id, job.token, JobState.SUCCEEDED, version=version, activated=True)
    mine.rollback()
    assert mine.active_prompt().version == before.version


def test_the_activation_of_a_first_version_is_an_event_told_once(mine):
    job = claimed(mine)
    version = mine.next_version(job.id, job.token, first=True)
    publish(mine, job, version)
    for _ in range(2):
        mine.activate(version, job_id=job.id, token=job.token, first=True)
    assert [event.step for event in mine.job_events(job.id)].count("activated") == 1


def test_a_tenants_queued_jobs_are_capped_only_where_the_setting_says_so(tmp_path):
    with storing(tmp_path, max_queued_jobs=2) as storage:
        one, two = tenant_of(storage), tenant_of(storage)
        jobs = [one.create_job([], {}) for _ in range(2)]
        for refused in (one.check_job_quota, lambda: one.create_job([], {})):
            with pytest.raises(QuotaExceeded, match="2 queued jobs and may have 2"):
                refused()
        two.create_job([], {})
        one.cancel_job(jobs[0].id)
        one.create_job([], {})
