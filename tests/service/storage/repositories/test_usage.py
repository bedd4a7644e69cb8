import datetime as dt
import threading

import pytest

from service.errors import IdempotencyConflict, NotFound
from service.storage.repositories import usage
from service.storage.repositories.usage import REMEMBERED_S
from tests.support.storage_fixtures import change, clip, teach


def test_use_is_counted_by_day_with_what_is_stored(mine):
    mine.add_usage(predictions=2)
    mine.add_usage(predictions=3, tuning_seconds=1.5)
    mine.add_clips([clip()], source="tune")
    ref = teach(mine)
    (today,) = mine.usage()
    assert (today.predictions, today.tuning_seconds) == (5, 1.5)
    assert today.stored_bytes == mine.stored_bytes() + len(mine.prompt_bytes(ref.version))


def test_days_are_told_newest_first_and_no_further_back_than_asked(mine, monkeypatch):
    now = usage.today()
    for back in (0, 1, 5):
        monkeypatch.setattr(usage, "today", lambda back=back: now - dt.timedelta(days=back))
        mine.add_usage(predictions=back + 1)
    monkeypatch.undo()
    assert [day.predictions for day in mine.usage(30)] == [1, 2, 6]
    assert [day.predictions for day in mine.usage(2)] == [1, 2]


def test_counts_from_many_threads_add_up(mine):
    threads = [threading.Thread(target=lambda: mine.add_usage(predictions=1)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mine.usage()[0].predictions == 20


def test_nothing_is_counted_for_a_tenant_that_is_gone(storage):
    with pytest.raises(NotFound):
        storage.tenant("never-made").add_usage(predictions=1)


def test_the_first_answer_to_an_idempotency_key_is_the_one_that_is_kept(mine, other):
    assert mine.idempotent("k", "d") is None
    mine.remember("k", "d", 201, {"n": 1})
    mine.remember("k", "d", 201, {"n": 2})
    assert (mine.idempotent("k", "d").status, mine.idempotent("k", "d").body) == (201, {"n": 1})
    assert other.idempotent("k", "d") is None
    with pytest.raises(IdempotencyConflict):
        mine.idempotent("k", "another request")


def test_an_answer_is_forgotten_after_a_day(storage, mine):
    mine.remember("k", "d", 201, {"n": 1})
    change(storage, "UPDATE idempotency SET created = created - :age", age=REMEMBERED_S + 1)
    assert mine.idempotent("k", "another request") is None
    mine.remember("k", "another request", 201, {"n": 2})
    assert mine.idempotent("k", "another request").body == {"n": 2}
