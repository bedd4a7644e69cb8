"""A timeline out of overlapping windows."""

import pytest

from service.errors import InvalidClip, InvalidRequest
from service.gateway.routes.segments import Window, merge_segments, parse_window_options, split_windows
from skeleton_prompt.clips.clip import parse_clip
from skeleton_prompt.model.decision import Prediction
from tests.support.gateway_app import person


def windows(count, length=2.0, stride=1.0):
    return [Window(n * stride, n * stride + length, None) for n in range(count)]


def seen(*labels):
    return [None if label is None else Prediction(label, True, 0.8, ((label, 0.8),)) for label in labels]


def test_windows_that_agree_become_one_segment_and_borders_lie_half_way():
    rows = merge_segments(windows(5), seen("a", "a", "a", "b", "b"))
    assert [(row["label"], row["start"], row["end"]) for row in rows] == [("a", 0.0, 3.5), ("b", 3.5, 6.0)]
    assert rows[0]["confidence"] == pytest.approx(0.8)


def test_a_single_window_between_two_that_agree_does_not_flicker():
    assert [row["label"] for row in merge_segments(windows(5), seen("a", "a", "b", "a", "a"))] == ["a"]
    assert [row["label"] for row in merge_segments(windows(3), seen("a", None, "a"))] == ["a"]


def test_stretches_in_which_nothing_is_known_are_left_out():
    assert merge_segments(windows(3), seen(None, None, None)) == []
    rows = merge_segments(windows(6), seen("a", "a", None, None, "b", "b"))
    assert [(row["label"], row["start"], row["end"]) for row in rows] == [("a", 0.0, 2.5), ("b", 4.5, 7.0)]


def test_windows_cover_the_clip_to_its_end():
    clip = parse_clip(person(frames=100))
    parts = split_windows(clip, 2.0, 1.0)
    assert parts[0].start == 0
    assert parts[-1].end == pytest.approx(100 / 30)
    assert all(part.person is not None and part.person.frames > 50 for part in parts)
    [short] = split_windows(parse_clip(person(frames=20)), 2.0, 1.0)
    assert (short.start, short.end) == (0, pytest.approx(20 / 30))


def test_several_people_too_many_windows_and_an_odd_pace_are_refused():
    one = person()
    with pytest.raises(InvalidClip):
        split_windows(parse_clip(one | {"keypoints": [[frame, frame] for frame in one["keypoints"]]}), 2.0, 1.0)
    with pytest.raises(InvalidRequest):
        split_windows(parse_clip(person(frames=2048, fps=10)), 0.5, 0.1)
    assert parse_window_options({}) == (2.0, 1.0)
    with pytest.raises(InvalidRequest):
        parse_window_options({"window": "2"})
