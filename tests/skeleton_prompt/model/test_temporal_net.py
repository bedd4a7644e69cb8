import dataclasses

import numpy as np
import pytest
import torch

from skeleton_prompt.model.features import Windows
from skeleton_prompt.model.prompt_file import BadPrompt, load_prompt, save_prompt
from skeleton_prompt.model.temporal_net import FRAMES, frontal, joints_shown, motion, share_of, signals, windows_at
from skeleton_prompt.model.tensor_shapes import BRANCHES, temporal_layers
from tests.support.engine_rows import person, random_prompt, small_engine

ENGINE = small_engine()
PROMPT = random_prompt(ENGINE, 5, classes=4, temporal=0.5)


def test_jcd_is_free_of_place_and_scale_and_zero_where_nothing_is_seen() -> None:
    points, seen = torch.rand(2, 32, 17, 2), torch.ones(2, 32, 17)
    seen[:, :, 4] = 0
    distances, slow, fast = signals(points, seen)
    assert distances.shape == (2, BRANCHES["distance"], FRAMES)
    assert slow.shape == (2, 34, 32)
    assert fast.shape == (2, 34, 16)
    moved, _, _ = signals(3 * points + 5, seen)
    torch.testing.assert_close(moved, distances, rtol=1e-4, atol=1e-4)
    missing = (torch.triu_indices(17, 17, 1) == 4).any(0)
    assert not distances[:, missing].any()
    assert bool(distances[:, ~missing].any(2).all())
    assert not slow[:, [8, 9]].any()


def test_motion_is_the_difference_of_neighbouring_frames() -> None:
    points = torch.arange(32.0)[None, :, None, None].expand(1, 32, 17, 2)
    torch.testing.assert_close(motion(points, torch.ones(1, 32, 17)), torch.ones(1, 34, 32))


def test_a_moment_between_two_frames_lies_between_them_and_is_seen_where_both_are() -> None:
    windows = Windows.of([person(3, depth=True)])
    windows.pose[:, :, 2, 2] = 1.0
    windows.pose[:, 10, 2, 2] = 0.0
    points, seen = windows_at(windows)
    assert points.shape == (1, FRAMES, 17, 3)
    place = 63 / 31  # frames of the window between two moments
    low = int(place)
    expected = windows.pose[0, low, 2, 0] * (low + 1 - place) + windows.pose[0, low + 1, 2, 0] * (place - low)
    torch.testing.assert_close(points[0, 1, 2, 0], expected)
    assert int((seen[0, :, 2] == 0).sum()) == 1


def test_no_joint_is_missing_of_a_person_seen_from_the_front() -> None:
    people = [person(1, windows=2), person(2, depth=True)]
    windows = Windows.of(people)
    turned = frontal(windows, ENGINE.lift(windows))
    assert bool((turned.pose[..., 2] == 1).all())
    assert bool(turned.has_depth.all())
    shown = windows.pose[2, ..., 2] > 0
    assert torch.equal(turned.pose[2][shown][:, :2], windows.pose[2][shown][:, :2])  # what a sensor measured stays
    assert torch.equal(turned.depth[2][shown], windows.depth[2][shown])
    for one, kept in zip(ENGINE.frontal(people), (slice(0, 2), slice(2, 3)), strict=True):
        assert np.allclose(one.pose, turned.pose[kept], atol=1e-5)
        assert np.allclose(one.depth, turned.depth[kept], atol=1e-5)


def test_the_temporal_part_changes_the_classes_and_leaves_how_familiar_a_clip_is() -> None:
    people = [person(seed, windows=1 + seed % 2, depth=seed % 2 == 0) for seed in range(6)]
    linear = dataclasses.replace(PROMPT, temporal_weight=0.0)
    with_it = np.stack(ENGINE.forward([(one, PROMPT) for one in people]))
    without = np.stack(ENGINE.forward([(one, linear) for one in people]))
    assert np.abs(with_it - without).max() > 1e-3
    assert np.allclose(with_it.max(1), without.max(1), atol=1e-5)


def test_the_number_of_filters_is_read_off_the_file_and_everything_else_must_fit_it() -> None:
    assert load_prompt(save_prompt(PROMPT)).tensors["temporal.distance.2.weight"].shape == (4, 4, 1)
    wrong = dict(PROMPT.tensors)
    wrong["temporal.distance.2.weight"] = np.zeros((5, 4, 1), dtype=np.float32)
    with pytest.raises(BadPrompt, match=r"temporal\.distance\.0\.weight"):
        save_prompt(dataclasses.replace(PROMPT, tensors=wrong))
    with pytest.raises(BadPrompt, match="missing or unknown"):
        save_prompt(dataclasses.replace(PROMPT, temporal_weight=0.0))


def test_the_smallest_form_stays_within_what_a_tenant_may_own() -> None:
    count = sum(int(np.prod(shape)) + shape[0] for _, shape in temporal_layers(16, 27))
    assert 100_000 < count < 155_000


def test_the_share_goes_from_one_to_the_other_with_the_joints_that_are_missing() -> None:
    usual = torch.ones(17)
    usual[16] = 0.5
    shown = torch.ones(4, 17)
    shown[1, 16] = 0
    shown[2, :4] = 0
    shown[3, :] = 0
    share = share_of(0.5, 0.2, usual, shown)[:, 0].tolist()
    assert share == pytest.approx([0.5, 0.5 - 0.3 * 0.5 / 4.5, 0.5 - 0.3 * 4 / 4.5, 0.2])
    assert share_of(0.5, 0.2, None, shown)[:, 0].tolist() == [0.5] * 4


def test_a_joint_is_shown_if_it_is_there_at_any_moment_of_any_window() -> None:
    pose = torch.zeros(3, 64, 17, 3)
    pose[0, 5, 2, 2] = 0.3
    pose[1, :, 3, 2] = 1
    windows = Windows(pose, torch.zeros(3, 64, 17), torch.zeros(3, dtype=torch.bool), torch.zeros(3), (2, 1))
    shown = joints_shown(windows)
    assert shown[0].nonzero()[:, 0].tolist() == [2, 3]
    assert shown[1].sum() == 0
