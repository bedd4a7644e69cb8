"""State machine of tuning jobs: one table of legal transitions and one function that checks them.

A job is queued, then running once a worker has claimed it, then publishing, from where a cancellation comes too late. A
worker that stops gives it back to the queue; another attempt starts at running again.
"""

from __future__ import annotations

from collections.abc import Mapping

from service.storage.records import JobState

_ENDS = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED}),
    JobState.RUNNING: frozenset({JobState.RUNNING, JobState.PUBLISHING, JobState.QUEUED}) | _ENDS,
    JobState.PUBLISHING: frozenset({JobState.PUBLISHING, JobState.RUNNING, JobState.QUEUED}) | _ENDS,
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}


class IllegalTransition(RuntimeError):
    """A job cannot go from one state to the other; a defect of the caller."""


def transition(before: JobState, after: JobState) -> JobState:
    """Check a transition; gives the new state.

    Raises:
        IllegalTransition: The table does not have it.
    """
    if after not in TRANSITIONS[before]:
        legal = ", ".join(sorted(state.value for state in TRANSITIONS[before])) or "nothing"
        raise IllegalTransition(f"a {before.value} job cannot become {after.value}; it can become {legal}")
    return after
