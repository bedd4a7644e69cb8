import numpy as np
import pytest
import torch

from skeleton_prompt.features import Windows
from skeleton_prompt.temporal import PREFIX, temporal_logits, temporal_shapes
from tests.skeleton_prompt.rows import person, small_engine
from training.temporal import FILTERS, TemporalConfig, TemporalTuner, build, folded, lacks_joints

ENGINE = small_engine()
LABELS = np.arange(10) % 2
QUICK = TemporalConfig(steps=40, batch=8, copies=1)


def waving(seed: int, label: int):
    """Somebody whose left or right wrist goes up and down."""
    one = person(seed, depth=True)
    one.pose[..., 2] = 1
    still = np.random.default_rng(0).uniform(-1, 1, (17, 2)).astype(np.float32)
    one.pose[..., :2] = still
    one.depth[:] = 0
    wrist = (13, 16)[label]
    one.pose[0, :, wrist, 1] += np.sin(np.linspace(0, 12, 64) + seed).astype(np.float32)
    return one


PEOPLE = [waving(seed, label) for seed, label in enumerate(LABELS)]


def tuner(**changes) -> TemporalTuner:
    return TemporalTuner(
        ENGINE, PEOPLE, 0, lambda: None, TemporalConfig(**{"steps": 150, "batch": 8, "copies": 0, **changes})
    )


def test_it_learns_which_hand_waves_and_does_so_twice_alike() -> None:
    rows = np.arange(6)
    tensors = tuner().fit(rows, LABELS[rows], 2, 1e3)
    assert {name: value.shape for name, value in tensors.items()} == temporal_shapes(2, tensors)
    others = np.arange(6, 10)
    assert (tuner().logits(tensors, others).argmax(1) == LABELS[others]).all()
    again = tuner().fit(rows, LABELS[rows], 2, 1e3)
    assert all(np.array_equal(tensors[name], again[name]) for name in tensors)


def test_folded_it_answers_as_the_trained_net_does() -> None:
    torch.manual_seed(0)
    net = build(Windows.of(PEOPLE), LABELS, 2)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.normal_(module.bias)
    net.eval()
    windows = Windows.of(ENGINE.frontal(PEOPLE))
    p = {name.removeprefix(PREFIX): torch.from_numpy(value) for name, value in folded(net).items()}
    assert p["distance.2.weight"].shape[0] == FILTERS
    with torch.inference_mode():
        torch.testing.assert_close(temporal_logits(p, windows), net(windows), rtol=1e-4, atol=1e-4)


def test_a_copy_lacks_joints_and_the_lift_stands_in_for_them() -> None:
    copy = lacks_joints(PEOPLE[0], torch.Generator().manual_seed(0))
    assert 9 <= int((copy.pose[0, 0, :, 2] > 0).sum()) <= 16
    assert (ENGINE.frontal([copy])[0].pose[..., 2] == 1).all()
    assert (PEOPLE[0].pose[..., 2] == 1).all()


def test_it_stops_between_two_steps_when_asked() -> None:
    asked = []

    def check() -> None:
        asked.append(1)
        if len(asked) > 5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        TemporalTuner(ENGINE, PEOPLE, 0, check, QUICK).fit(np.arange(10), LABELS, 2, 1e3)
    assert len(asked) == 6


def test_fewer_steps_are_taken_where_the_seconds_would_not_do() -> None:
    steps = []
    slow = TemporalTuner(ENGINE, PEOPLE, 0, lambda: steps.append(1), TemporalConfig(steps=10_000, batch=4, copies=0))
    slow.fit(np.arange(10), LABELS, 2, 0.0)
    assert 40 <= len(steps) < 100
