"""Clips without some of their joints look as if they had been sent so."""

from __future__ import annotations

import numpy as np
import torch

from skeleton_prompt.model.features import Windows
from tests.support.baseline_people import person
from training.tuning.joint_dropout import drop_joints, without


def test_one_to_eight_joints_go_for_the_whole_clip_in_all_windows_alike() -> None:
    whole = Windows.of([person(0, 1), person(1, 2, seconds=25), person(2, 3, missing=tuple(range(12)))] * 20)
    less = drop_joints(whole, torch.Generator().manual_seed(0))
    before, after = ((w.pose[..., 2] > 0).any(1) for w in (whole, less))
    gone = (before & ~after).sum(1)
    start = 0
    for index, count in enumerate(whole.counts):
        mine = range(start, start + count)
        start += count
        assert all(torch.equal(after[mine[0]], after[other]) for other in mine)
        # The third person shows five joints, of which four must stay.
        assert int(gone[mine[0]]) in (range(2) if index % 3 == 2 else range(1, 9))
    assert int(gone.max()) == 8
    assert torch.equal(less.pose[..., :2][less.pose[..., 2] == 0].unique(), torch.zeros(1))


def test_what_is_left_is_placed_as_normalisation_would_place_it() -> None:
    gone = torch.zeros(1, 17, dtype=torch.bool)
    gone[0, [3, 10, 13]] = True
    for depth in (False, True):
        less = without(Windows.of([person(0, 5, depth=depth)]), gone)
        sent = person(0, 5, depth=depth, missing=(3, 10, 13))
        np.testing.assert_allclose(less.pose.numpy(), sent.pose, atol=2e-5)
        np.testing.assert_allclose(less.depth.numpy(), sent.depth, atol=2e-5)


def test_nothing_is_changed_where_nothing_goes() -> None:
    whole = Windows.of([person(0, 1), person(0, 2, missing=tuple(range(17)))])
    less = without(whole, torch.zeros(2, 17, dtype=torch.bool))
    assert torch.equal(less.pose, whole.pose)
