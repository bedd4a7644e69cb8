"""The nets are those of their papers: sizes, features, what they cannot see, and what training may vary."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from skeleton_prompt.model.features import Windows
from tests.support.baseline_people import class_of, person
from tests.support.engine_rows import small_engine
from training.baselines.ddnet import DDNet, ddnet
from training.baselines.finetune import builder, groups
from training.baselines.neural import Schedule, augment, half_without
from training.baselines.stgcn import CHANNELS, STGCN, graph

torch.set_num_threads(1)


def size(net: nn.Module) -> int:
    return sum(value.numel() for value in net.parameters())


def test_dd_net_has_the_size_that_its_authors_print() -> None:
    # "Trainable params: 1,794,837" for JHMDB's 15 joints and 21 classes; the paper says 1.8 M.
    assert size(DDNet(15, 2, 21)) == 1_794_837
    assert size(DDNet(17, 2, 14)) == 1_798_926
    assert size(DDNet(17, 3, 27)) == 1_804_955


def test_st_gcn_pp_has_the_size_that_its_paper_states() -> None:
    # The paper: 1.39 M with 25 joints and 60 classes, at 64 channels.
    assert size(STGCN(True, 27, channels=64)) == 1_384_825
    assert CHANNELS == 32
    assert size(STGCN(True, 27)) == 360_441


def test_the_graph_goes_to_the_root_and_away_from_it() -> None:
    A = graph()
    assert A.shape == (3, 17, 17)
    assert torch.equal(A[0], torch.eye(17))
    sums = A.sum(1)
    assert bool(((sums - 1).abs() < 1e-6).logical_or(sums == 0).all())
    # The root receives nothing from above; a wrist receives nothing from below.
    assert int(A[2, :, 0].count_nonzero()) == 0
    assert int(A[1, :, 13].count_nonzero()) == 0


def test_variation_keeps_missing_joints_missing_and_repeats_by_seed() -> None:
    windows = Windows.of(
        [person(0, 1, missing=(3, 9)), person(1, 2, depth=True), person(2, 3, missing=tuple(range(17)))]
    )
    first, second = (augment(windows, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first.pose, second.pose)
    assert not torch.equal(first.pose, windows.pose)
    assert not first.pose[0, :, [3, 9]].any()
    assert not first.pose[2].any()
    assert not first.depth[0].any()
    assert bool(first.depth[1].any())
    assert bool((first.log_seconds <= windows.log_seconds).all())


def test_joints_go_in_about_half_of_the_windows() -> None:
    people, _ = class_of(20)
    less = half_without(Windows.of(people), torch.Generator().manual_seed(0))
    lost = ((less.pose[..., 2] > 0).any(1).sum(1) < 17).float().mean()
    assert 0.3 < float(lost) < 0.7


def test_the_schedule_warms_up_and_comes_to_rest() -> None:
    schedule = Schedule(steps=100, passes=2, batch=10)
    assert schedule.length(50) == 100
    assert schedule.length(1000) == 200
    paces = [schedule.factor(step, 100) for step in range(100)]
    assert max(paces) == pytest.approx(1)
    assert paces.index(max(paces)) == 9
    assert paces[-1] < 0.01


def test_fine_tuning_moves_every_layer_and_leaves_the_engine_alone() -> None:
    engine = small_engine()
    before = {name: value.clone() for name, value in engine.backbone.state_dict().items()}
    people, labels = class_of(2)
    windows = Windows.of(people)
    net = builder(engine)(windows, labels, 3)
    asked = sum(value.numel() for _, values in groups(net) for value in values)
    assert asked == sum(value.numel() for value in net.parameters() if value.requires_grad)
    factors = [factor for factor, _ in groups(net)]
    assert factors == sorted(factors, reverse=True)
    nn.functional.cross_entropy(net(windows), torch.from_numpy(labels)).backward()
    still = {name for name, value in net.named_parameters() if value.requires_grad and value.grad is None}
    assert still <= {"backbone.missing"}
    for name, value in engine.backbone.state_dict().items():
        assert torch.equal(value, before[name])


def test_the_state_of_the_random_generator_is_given_back() -> None:
    people, labels = class_of(1)
    net = ddnet("DD-Net")
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    replace(net, schedule=Schedule(steps=2, passes=1, batch=3)).fit(people, np.asarray(labels), 3, seed=0)
    assert torch.equal(torch.rand(1), expected)
