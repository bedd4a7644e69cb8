"""Every baseline keeps the contract that the evaluation relies on."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from skeleton_prompt.clips.normalise import PreparedPerson
from tests.support.baseline_people import class_of, person
from tests.support.engine_rows import small_engine
from training.baselines import BASELINES, Baseline, baseline, ddnet, stgcn
from training.baselines.neural import Build, Net

pytestmark = pytest.mark.slow

torch.set_num_threads(1)
ENGINE = small_engine()
STEPS = {"DD-Net": 100, "ST-GCN++": 30, "full fine-tuning": 5}
NARROW: dict[str, Build] = {
    "DD-Net": partial(ddnet.build, filters=12),
    "ST-GCN++": partial(stgcn.build, channels=12, every=4),
}
TAUGHT, LABELS = class_of(4)
ASKED, TRUTH = class_of(2, first=100)
# The whole person, one of two windows, one without arms, one with nearly nothing, and one of whom nothing is seen.
ODD = [
    person(0, 200),
    person(1, 201, seconds=14),
    person(2, 202, missing=(11, 12, 13, 14, 15, 16)),
    person(0, 203, missing=tuple(range(3, 17))),
    person(0, 204, missing=tuple(range(17))),
]


def small(name: str, steps: int) -> Baseline:
    """The baseline, a neural one narrow and trained for a second."""
    found = baseline(name, ENGINE)
    if isinstance(found, Net):
        schedule = replace(found.schedule, steps=steps, passes=1, batch=8)
        return replace(found, build=NARROW.get(name, found.build), schedule=schedule)
    return found


@pytest.mark.parametrize("name", BASELINES)
def test_it_learns_a_separable_problem_and_answers_for_odd_people(name: str) -> None:
    fitted = small(name, STEPS.get(name, 0)).fit(TAUGHT, LABELS, 4, seed=0)
    logits = fitted.logits(ASKED)
    assert logits.shape == (6, 4)
    assert logits.dtype == np.float32
    # Chance is a third; class 3 was never taught and is never told.
    assert (logits.argmax(1) == TRUTH).mean() >= 2 / 3
    assert (logits.argmax(1) < 3).all()
    assert fitted.parameters > 0
    odd = fitted.logits(ODD)
    assert odd.shape == (5, 4)
    assert np.isfinite(odd).all()


@pytest.mark.parametrize("name", BASELINES)
def test_the_same_seed_gives_the_same_logits_with_joints_dropped(name: str) -> None:
    people: list[PreparedPerson] = [*TAUGHT, ODD[2]]
    labels = np.append(LABELS, 2)
    first, second = (small(name, 3).fit(people, labels, 3, seed=5, drop_joints=True).logits(ODD) for _ in range(2))
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", BASELINES)
def test_one_clip_per_class_is_enough(name: str) -> None:
    people, labels = class_of(1, depth=True)
    told: list[str] = []
    fitted = small(name, 3).fit(
        people, labels, 3, seed=0, tick=lambda share, message: told.append(f"{share} {message}")
    )
    assert np.isfinite(fitted.logits(people)).all()
    assert told


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(LookupError, match="ridge on stream descriptors"):
        baseline("nearest neighbour", ENGINE)


def test_labels_that_do_not_fit_are_refused() -> None:
    ridge = baseline("ridge on stream descriptors", ENGINE)
    with pytest.raises(ValueError, match="one label each"):
        ridge.fit(TAUGHT, LABELS[:-1], 3, seed=0)
    with pytest.raises(ValueError, match="at least 2"):
        ridge.fit(TAUGHT, LABELS * 0, 3, seed=0)
    with pytest.raises(ValueError, match="with 2 classes 0 to 1 do"):
        ridge.fit(TAUGHT, LABELS, 2, seed=0)
