"""Order of rows of several tenants, priced in windows."""

import time
from dataclasses import replace

import numpy as np

from service.inference.interface import PredictionInput
from service.inference.local.fair_queue import FairQueue, Row
from skeleton_prompt.model.prompt_file import PromptRef
from skeleton_prompt.model.window_sums import WindowSums
from tests.support.engine_rows import person


def row(tenant, windows=1, seconds=60.0):
    asked = PredictionInput(
        person(0, windows=windows), PromptRef(tenant, 1, "0" * 64), 5, None, time.monotonic() + seconds
    )
    return Row(asked, None, None, "memory", 0.0)


def advance(one, windows):
    """As the engine does after a chunk."""
    one.position += windows
    one.sums = WindowSums(one.position, np.zeros(1), None, None, np.zeros(1))


def tenants(queue, most=16):
    return [one.tenant for one in queue.take(most)[1]]


def test_a_long_row_is_alone_in_its_batch_and_comes_back_for_its_next_chunk():
    queue = FairQueue(64)
    long = row("heavy", windows=10)
    queue.put(long)
    queue.put(row("light"))
    sizes = []
    while len(queue):
        _, rows = queue.take(16)
        for one in rows:
            part = one.chunk(queue.chunk)
            if one is long:
                sizes.append((len(rows), len(part.person.pose), part.last))
                advance(one, len(part.person.pose))
                if not part.last:
                    queue.put_back(one)
    assert sizes == [(1, 4, False), (1, 4, False), (1, 2, True)]


def test_a_light_tenant_is_next_whatever_a_heavy_one_has_queued():
    queue = FairQueue(256)
    for _ in range(30):
        queue.put(row("heavy", windows=30))
    for _ in range(5):
        _, (one,) = queue.take(16)
        advance(one, 4)
        queue.put_back(one)
        queue.put(row("light"))
        assert tenants(queue) == ["light"]


def test_tenants_share_windows_and_not_rows():
    queue = FairQueue(4096)
    for _ in range(200):
        queue.put(row("four", windows=4))
        queue.put(row("one"))
    served = {"four": 0, "one": 0}
    while served["four"] + served["one"] < 160:
        for one in queue.take(16)[1]:
            served[one.tenant] += one.windows_left
    assert abs(served["four"] - served["one"]) <= 16


def test_a_tenant_that_empties_its_queue_gains_no_turn_by_it():
    queue = FairQueue(64)
    queue.put(row("leaves", windows=4))
    assert tenants(queue) == ["leaves"]
    queue.put(row("stays", windows=4))
    queue.put(row("leaves", windows=4))
    assert tenants(queue, 4) == ["stays"], "it has had less"


def test_a_row_past_its_deadline_or_left_by_its_client_goes_no_further():
    queue = FairQueue(64)
    late, left = row("late", windows=10), row("left", windows=10)
    for one in (late, left):
        queue.put(one)
    (first,) = queue.take(16)[1]
    assert first is late
    advance(late, 4)
    queue.put_back(late)
    left.done.cancel()
    late.input = replace(late.input, deadline=time.monotonic())
    queue.put(row("next"))
    assert tenants(queue) == ["next"]
    assert len(queue) == 0


def test_a_row_whose_process_crashed_is_tried_again_by_itself():
    queue = FairQueue(64)
    poisoned = row("poisoned")
    poisoned.attempts = 1
    for one in (row("a"), poisoned, row("b")):
        queue.put(one)
    assert [tenants(queue), tenants(queue)] == [["a", "b"], ["poisoned"]]


def test_control_tasks_wait_until_no_row_does():
    queue = FairQueue(64)
    queue.submit_control_task(lambda: None)
    queue.put(row("a"))
    assert [len(part) for part in queue.take(16)] == [0, 1]
    assert [len(part) for part in queue.take(16)] == [1, 0]


def test_windows_fill_the_queue_as_rows_do_and_the_greedy_one_makes_room():
    queue = FairQueue(4)
    assert queue.put(row("greedy", windows=16)) is None
    assert not queue.has_room("greedy")
    displaced = queue.put(row("modest"))
    assert displaced.tenant == "greedy"
    assert tenants(queue) == ["modest"]


def test_a_tenant_waits_for_its_own_windows_and_as_many_of_each_other():
    queue = FairQueue(256)
    for _ in range(10):
        queue.put(row("heavy", windows=10))
    queue.put(row("light"))
    assert queue.windows_ahead("new") == 4 + 1
    assert queue.windows_ahead("heavy") == 101


def test_a_closed_queue_takes_no_row_back():
    queue = FairQueue(64)
    one = row("a", windows=8)
    queue.put(one)
    queue.take(16)
    waiting = replace(one)
    assert queue.close() == []
    assert not queue.put_back(one)
    assert queue.put(waiting) is waiting
    assert queue.take(16) == ([], [])
