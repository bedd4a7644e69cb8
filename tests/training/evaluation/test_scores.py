import numpy as np
import pytest

from training.evaluation.scores import Answers, accuracy, calibration, confusion, open_set


def answers(probability: list[list[float]], known: list[bool] | None = None) -> Answers:
    values = np.array(probability)
    return Answers(values.argmax(1), values, values.max(1), None if known is None else np.array(known), {})


def test_a_clip_that_shows_nothing_is_asked_about_and_wrong() -> None:
    found = accuracy(answers([[0.9, 0.1], [0.4, 0.6]], [True, False]), np.array([0, 0]), asked=4)
    assert found == {"accuracy": 0.25, "clips_asked": 4, "known": 0.25, "accuracy_if_known": 1.0}


def test_counts_say_what_it_is_and_what_it_is_told_as() -> None:
    assert confusion(answers([[0.9, 0.1], [0.4, 0.6]]), np.array([0, 0]), 2) == [[1, 1], [0, 0]]


def test_calibration_is_the_gap_between_said_and_right_and_brier_the_squared_miss() -> None:
    found = calibration(answers([[0.8, 0.2]] * 10), np.array([0] * 6 + [1] * 4))
    assert found["ece"] == pytest.approx(0.2)
    assert found["brier"] == pytest.approx(0.6 * 0.08 + 0.4 * 1.28)


def test_few_clips_look_less_calibrated_than_they_are_and_chance_says_by_how_much() -> None:
    rng = np.random.default_rng(1)
    for count, most in ((40, 0.25), (4000, 0.03)):
        sure = rng.uniform(0.5, 1, count)
        truth = (rng.random(count) > sure).astype(int)
        found = calibration(answers([[p, 1 - p] for p in sure]), truth)
        assert 0 < found["ece_by_chance"] < most
        assert abs(found["ece"] - found["ece_by_chance"]) < 0.6 * found["ece_by_chance"]


def test_the_open_set_is_judged_by_rank_and_by_the_limits() -> None:
    said = answers([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.7, 0.3]], [True, False, False, True])
    found = open_set(said, np.array([True, True, False, False]))
    assert found == {"auroc": 1.0, "wrongly_refused": 0.5, "wrongly_accepted": 0.5}
