"""Forward passes of bounded size: the same numbers, in pieces that can be stopped between."""

from dataclasses import replace

import numpy as np
import pytest

from skeleton_prompt.clips.normalise import PreparedPerson
from skeleton_prompt.model.window_batches import MAX_WINDOWS, thinned, window_batches, window_pieces
from tests.support.recordings import ENGINE


def person(windows: int, seed: int = 0, *, deep: bool = False) -> PreparedPerson:
    rng = np.random.default_rng(seed)
    pose = rng.normal(0, 0.4, (windows, 64, 17, 3)).astype(np.float32)
    pose[..., 2] = 1.0
    depth = rng.normal(0, 0.4, (windows, 64, 17)).astype(np.float32) * deep
    return PreparedPerson(pose, depth, deep, np.full(windows, 0.7, np.float32), 1.0, 64 * windows, 1.0)


def test_no_batch_is_larger_than_its_limits_and_nobody_is_lost_or_moved():
    people = [person(count) for count in (1, 1, 1, 3, 200, 1, 63, 2)]
    batches = list(window_batches(people, 2, 64))
    assert [one for batch in batches for one in batch] == people
    assert [[len(one.pose) for one in batch] for batch in batches] == [[1, 1], [1, 3], [200], [1, 63], [2]]


def test_a_long_clip_is_thinned_evenly_and_a_short_one_is_left_as_it_is():
    long, short = person(500), person(7)
    few = thinned(long, 5)
    assert np.array_equal(few.pose, long.pose[[0, 125, 250, 374, 499]])
    assert few.log_seconds.shape == (5,)
    assert thinned(short, 7) is short


@pytest.mark.parametrize("deep", [False, True])
def test_features_of_a_long_clip_are_those_of_its_windows_whatever_the_pieces(deep, monkeypatch):
    one = person(9, deep=deep)
    whole = ENGINE.features([one])
    lifted = ENGINE.frontal([one])[0]
    monkeypatch.setattr("skeleton_prompt.model.engine.MAX_WINDOWS", 4)
    monkeypatch.setattr("skeleton_prompt.model.engine.window_pieces", lambda p: window_pieces(p, 4))
    assert np.abs(ENGINE.features([one]) - whole).max() < 1e-4
    pieces = ENGINE.frontal([one])[0]
    assert np.abs(pieces.pose - lifted.pose).max() < 1e-5
    assert np.abs(pieces.depth - lifted.depth).max() < 1e-5
    assert pieces.has_depth


def test_a_long_clip_can_be_stopped_between_its_pieces():
    one = replace(person(1), pose=np.zeros((10 * MAX_WINDOWS, 64, 17, 3), np.float32))
    one = replace(one, depth=one.pose[..., 0], log_seconds=np.zeros(len(one.pose), np.float32))
    asked = []

    def stop_at_the_third() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        ENGINE.features([one], 16, stop_at_the_third)
    assert len(asked) == 3
