"""Every pair of states is either in the table or refused."""

import itertools

import pytest

from service.storage.job_states import TRANSITIONS, IllegalTransition, transition
from service.storage.records import JobState
from tests.support.storage_fixtures import change


@pytest.mark.parametrize(("before", "after"), list(itertools.product(JobState, JobState)))
def test_a_transition_is_legal_exactly_where_the_table_has_it(before, after):
    if after in TRANSITIONS[before]:
        assert transition(before, after) is after
    else:
        with pytest.raises(IllegalTransition, match=f"a {before.value} job cannot become {after.value}"):
            transition(before, after)


def test_final_states_are_those_without_a_way_out():
    assert {state for state in JobState if state.final} == {state for state in JobState if not TRANSITIONS[state]}


def test_no_write_of_a_repository_goes_round_the_table(storage, mine):
    job = mine.claim_job(mine.create_job([], {}).id, "a")
    with storage.database.write() as connection:
        row = mine.has_lease(connection, job.id, job.token)
    change(storage, "UPDATE jobs SET state = 'succeeded' WHERE id = :id", id=job.id)
    with storage.database.write() as connection:
        ended = mine._job_row(connection, job.id)
        with pytest.raises(IllegalTransition):
            mine._change(connection, ended, {"state": "running"})
    assert row.state == "running"
