import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeleton_prompt.model.prompt_file import BackboneMismatch, BadPrompt
from tests.support.engine_rows import person, random_prompt, small_engine
from training.tuning.linear_head import linear_logits

ENGINE = small_engine()
PROMPTS = [
    random_prompt(
        ENGINE,
        seed,
        classes=2 + seed % 5,
        blend=0.5 * (seed % 3),
        temporal=0.4 * (seed % 2),
        background=seed % 4 == 0,
        curve=3 * (seed % 2),
        likeness=20 * (seed % 3),
    )
    for seed in range(8)
]
PEOPLE = [person(seed, windows=1 + seed % 3, depth=seed % 2 == 0) for seed in range(6)]
ALONE = {(p, q): ENGINE.forward([(PEOPLE[p], PROMPTS[q])])[0] for p in range(len(PEOPLE)) for q in range(len(PROMPTS))}

ROWS = st.lists(st.tuples(st.integers(0, len(PEOPLE) - 1), st.integers(0, len(PROMPTS) - 1)), min_size=1, max_size=12)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(ROWS)
def test_the_answer_of_a_row_does_not_depend_on_its_neighbours(rows) -> None:
    mixed = ENGINE.forward([(PEOPLE[p], PROMPTS[q]) for p, q in rows])
    for row, logits in zip(rows, mixed, strict=True):
        assert logits.shape == ALONE[row].shape
        assert np.abs(logits - ALONE[row]).max() <= 1e-5
        assert logits.argmax() == ALONE[row].argmax()


def test_prompts_with_a_module_answer_differently_from_their_linear_part_alone() -> None:
    full = next(prompt for prompt in PROMPTS if prompt.has_module)
    linear = dataclasses.replace(full, module_weight=0.0, temporal_weight=0.0)
    a, b = ENGINE.forward([(PEOPLE[0], full), (PEOPLE[0], linear)])
    assert np.abs(a - b).max() > 1e-3


def test_the_linear_part_is_read_as_training_wrote_it() -> None:
    prompt = dataclasses.replace(PROMPTS[5], module_weight=0.0, temporal_weight=0.0)
    assert {"linear.curve", "likeness.mean"} <= set(prompt.tensors)
    features = ENGINE.features(PEOPLE)[:, ENGINE.columns(prompt.blocks)]
    logits = ENGINE.forward([(person, prompt) for person in PEOPLE])
    assert np.allclose(np.stack(logits), linear_logits(prompt.tensors, features), atol=1e-4)


def test_a_prompt_of_another_backbone_spoils_only_its_own_row() -> None:
    foreign = dataclasses.replace(PROMPTS[1], backbone_sha256="f" * 64)
    wrong = dataclasses.replace(PROMPTS[1], blocks=("frozen",))
    unknown = dataclasses.replace(PROMPTS[1], blocks=("magic",))
    rows = [(PEOPLE[0], PROMPTS[0]), (PEOPLE[0], foreign), (PEOPLE[0], wrong), (PEOPLE[0], unknown)]
    good, *bad = ENGINE.forward(rows)
    assert np.abs(good - ALONE[0, 0]).max() <= 1e-5
    assert [type(error) for error in bad] == [BackboneMismatch, BadPrompt, BadPrompt]


def test_a_row_with_numbers_that_are_not_finite_spoils_only_itself() -> None:
    broken = dataclasses.replace(PEOPLE[1], pose=np.full_like(PEOPLE[1].pose, np.nan))
    bad, good = ENGINE.forward([(broken, PROMPTS[0]), (PEOPLE[0], PROMPTS[0])])
    assert isinstance(bad, ArithmeticError)
    assert np.abs(good - ALONE[0, 0]).max() <= 1e-5


def test_an_empty_batch_gives_no_rows_and_no_features() -> None:
    assert ENGINE.forward([]) == []
    assert ENGINE.features([]).shape == (0, ENGINE.features(PEOPLE[:1]).shape[1])


def test_features_do_not_depend_on_how_they_are_batched() -> None:
    assert np.abs(ENGINE.features(PEOPLE, batch_size=2) - ENGINE.features(PEOPLE, batch_size=5)).max() <= 1e-5


def test_probabilities_sum_to_one_over_all_labels_and_are_sorted() -> None:
    for (p, q), logits in ALONE.items():
        prediction = ENGINE.finish(PEOPLE[p], PROMPTS[q], logits, top_k=50)
        values = [probability for _, probability in prediction.predictions]
        assert sum(values) == pytest.approx(1)
        assert values == sorted(values, reverse=True)
        assert len(values) == len(PROMPTS[q].labels)


def test_a_clip_that_shows_too_little_is_answered_but_not_known() -> None:
    hidden = dataclasses.replace(PEOPLE[0], visible=0.3)
    short = dataclasses.replace(PEOPLE[0], frames=5)
    for someone in (hidden, short):
        prediction = ENGINE.finish(someone, PROMPTS[0], ALONE[0, 0], threshold=0.0)
        assert (prediction.known, prediction.label, prediction.reason) == (False, None, "too_little_visible")
        assert prediction.predictions


def test_the_three_ways_of_not_being_known_are_told_apart() -> None:
    plain, taught = PROMPTS[1], PROMPTS[4]
    assert not plain.background
    assert taught.background
    far = np.full(plain.classes, 1e4, dtype=np.float32)
    even = np.zeros(plain.classes, dtype=np.float32)
    nothing = np.zeros(taught.classes, dtype=np.float32)
    nothing[-1] = 50
    near = dataclasses.replace(plain, calibration=dataclasses.replace(plain.calibration, distance=float("inf")))
    assert ENGINE.finish(PEOPLE[0], plain, far, threshold=0.0).reason == "unlike_taught"
    assert ENGINE.finish(PEOPLE[0], near, even, threshold=0.9).reason == "below_threshold"
    assert ENGINE.finish(PEOPLE[0], taught, nothing).reason == "background"
    assert ENGINE.finish(PEOPLE[0], near, even, threshold=0.0).known
