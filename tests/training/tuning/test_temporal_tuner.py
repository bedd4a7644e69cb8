from dataclasses import replace

import numpy as np
import pytest
import torch

from skeleton_prompt.model.tensor_shapes import temporal_shapes
from tests.support.engine_rows import person, small_engine
from training.tuning.temporal_tuner import FILTERS, TemporalConfig, TemporalTuner, without_random_joints

pytestmark = pytest.mark.slow

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


def fit(some: TemporalTuner, *lessons: np.ndarray, seconds: float = 1e3) -> list[dict[str, np.ndarray]]:
    return some.fit(lessons, LABELS, 2, seconds, lambda _: None)


def test_it_learns_which_hand_waves_and_does_so_twice_alike() -> None:
    (tensors,) = fit(tuner(), np.arange(6))
    assert {name: value.shape for name, value in tensors.items()} == temporal_shapes(2, tensors)
    assert tensors["temporal.distance.2.weight"].shape[0] == FILTERS
    others = np.arange(6, 10)
    assert (tuner().logits(tensors, others).argmax(1) == LABELS[others]).all()
    (again,) = fit(tuner(), np.arange(6))
    assert all(np.array_equal(tensors[name], again[name]) for name in tensors)


def test_parts_that_learn_side_by_side_learn_each_from_its_own_people() -> None:
    swapped = LABELS.copy()
    swapped[5:] = 1 - swapped[5:]
    some = tuner()
    first, second = some.fit([np.arange(5), np.arange(5, 10)], swapped, 2, 1e3, lambda _: None)
    everybody = np.arange(10)
    assert (some.logits(first, everybody).argmax(1) == LABELS).all()
    assert (some.logits(second, everybody).argmax(1) == 1 - LABELS).all()


def test_it_tells_how_far_it_is() -> None:
    told: list[float] = []
    tuner().fit([np.arange(10)], LABELS, 2, 1e3, told.append)
    assert told == sorted(told)
    assert told[0] == 0
    assert 0.8 < told[-1] < 1


def test_a_part_says_which_joints_the_taught_clips_show() -> None:
    some = tuner(steps=5)
    people = [replace(person, pose=person.pose.copy()) for person in PEOPLE]
    people[0].pose[:, :, 3, 2] = 0
    people[1].pose[:, :10, 4, 2] = 0
    some = TemporalTuner(ENGINE, people, 0, lambda: None, TemporalConfig(steps=3, batch=8, copies=0))
    (tensors,) = fit(some, np.arange(4))
    assert tensors["temporal.shown"][3] == 0.75
    assert np.delete(tensors["temporal.shown"], 3).tolist() == [1.0] * 16


def test_copies_that_lack_joints_are_asked_as_they_are() -> None:
    some = tuner(steps=3)
    (tensors,) = fit(some, np.arange(10))
    assert some.missing_joint_features().shape == ENGINE.features(PEOPLE).shape
    assert not np.allclose(some.missing_joint_features(), ENGINE.features(PEOPLE))
    assert np.isfinite(some.missing_joint_logits(tensors, np.arange(3))).all()


def test_people_have_depth_where_most_of_them_have() -> None:
    flat = [replace(one, has_depth=False) for one in PEOPLE]
    assert TemporalTuner(ENGINE, PEOPLE[:6] + flat[6:], 0, lambda: None).mostly_3d()
    assert not TemporalTuner(ENGINE, PEOPLE[:5] + flat[5:], 0, lambda: None).mostly_3d()


def test_a_copy_lacks_joints_and_the_lift_stands_in_for_them() -> None:
    copy = without_random_joints(PEOPLE[0], torch.Generator().manual_seed(0))
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
        TemporalTuner(ENGINE, PEOPLE, 0, check, QUICK).fit([np.arange(10)], LABELS, 2, 1e3, lambda _: None)
    assert len(asked) == 6


def test_fewer_steps_are_taken_where_the_seconds_would_not_do() -> None:
    steps = []
    slow = TemporalTuner(ENGINE, PEOPLE, 0, lambda: steps.append(1), TemporalConfig(steps=10_000, batch=4, copies=0))
    fit(slow, np.arange(10), seconds=0.0)
    assert 40 <= len(steps) < 100
