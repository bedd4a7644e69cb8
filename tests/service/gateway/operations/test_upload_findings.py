"""Duplicate clips of an upload are found at a cost that is linear in the number of clips."""

import sys

import numpy as np
import pytest

from service.gateway.operations.upload_findings import _groups_of_equal, _Row


def row(index: int, digest: str, value: float) -> _Row:
    return _Row(f"clips[{index}]", "ab"[index % 2], 2, digest.encode(), np.full(272, value, np.float16), 1.0)


def test_equal_keypoints_and_equal_poses_are_one_group_and_others_are_none():
    rows = [row(0, "x", 0.1), row(1, "y", 0.1), row(2, "x", 0.1), row(3, "z", 0.5)]
    assert [[clip.place for clip in group] for group in _groups_of_equal(rows)] == [
        ["clips[0]", "clips[1]", "clips[2]"]
    ]


@pytest.mark.parametrize("distinct", [True, False])
def test_the_cost_of_comparing_clips_grows_linearly(distinct):
    def calls_for(count: int) -> int:
        rows = [row(i, str(i) if distinct else "same", 0.25) for i in range(count)]
        calls = 0

        def count_calls(_frame, event, _argument):
            nonlocal calls
            calls += event in ("call", "c_call")

        sys.setprofile(count_calls)
        try:
            groups = _groups_of_equal(rows)
        finally:
            sys.setprofile(None)
        assert [len(group) for group in groups] == [count]
        return calls

    assert calls_for(800) < 2.5 * calls_for(400)
