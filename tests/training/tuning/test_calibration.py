import numpy as np
import pytest

from training.tuning.calibration import (
    class_centres,
    confidences,
    distances,
    fit_limits,
    fit_temperature,
    probabilities,
    reliability,
    wilson_interval,
)


def drawn(count: int = 4000, temperature: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels that are drawn from their very probabilities."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(count, 5))
    labels = np.array([rng.choice(5, p=row) for row in probabilities(logits, temperature)])
    return logits, labels


def test_the_temperature_that_made_the_labels_is_found_again_and_is_calibrated() -> None:
    logits, labels = drawn()
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(0.3, rel=0.1)
    best, confidence = confidences(probabilities(logits, temperature), 5)
    assert reliability(confidence, best == labels)["ece"] < 0.03
    assert reliability(confidence**3, best == labels)["ece"] > 0.1


def test_about_five_in_a_hundred_of_the_clips_told_right_are_refused() -> None:
    logits, labels = drawn()
    centres, spread = class_centres(logits)
    limits = fit_limits(logits, labels, 5, 0.3, centres, spread)
    best, confidence = confidences(probabilities(logits, 0.3), 5)
    known = (confidence >= limits.threshold) & (distances(logits, centres, spread) <= limits.distance)
    assert 0.02 < (~known)[best == labels].mean() <= 0.055


def test_the_distance_orders_clips_by_their_largest_logit_even_in_half_precision() -> None:
    logits, _ = drawn()
    centres, spread = class_centres(logits)
    assert np.array_equal(centres.astype(np.float16).astype(float), centres)
    by_distance = np.argsort(np.argsort(-distances(logits, centres, spread)))
    by_largest = np.argsort(np.argsort(logits.max(1)))
    assert np.corrcoef(by_distance, by_largest)[0, 1] > 0.98


def test_a_clip_that_shows_nothing_of_any_class_is_farther_than_what_is_taught() -> None:
    taught = np.eye(4)[np.repeat(np.arange(4), 10)] * 2 - 0.5
    centres, spread = class_centres(taught)
    nothing = np.zeros((1, 4))
    assert distances(nothing, centres, spread)[0] > distances(taught, centres, spread).max()


def test_background_that_looks_like_a_label_raises_the_threshold_within_bounds() -> None:
    rng = np.random.default_rng(1)
    taught = rng.normal(size=(300, 4)) * 0.4
    truth = np.repeat(np.arange(3), 100)
    taught[np.arange(300), truth] += 3
    unlike = rng.normal(size=(100, 4)) * 0.4
    unlike[:, 0] += 1.2
    logits, labels = np.concatenate([taught, unlike]), np.concatenate([truth, np.full(100, 3)])
    centres, spread = class_centres(logits)
    without = fit_limits(taught, truth, 3, 1.0, centres, spread)
    limits = fit_limits(logits, labels, 3, 1.0, centres, spread)
    assert limits.threshold > without.threshold
    _, confidence = confidences(probabilities(logits, 1.0), 3)
    assert (confidence >= limits.threshold)[300:].mean() <= 0.06
    assert (confidence >= limits.threshold)[:300].mean() >= 0.79


def test_too_few_held_out_clips_set_no_limits() -> None:
    logits = np.eye(3)
    limits = fit_limits(logits, np.arange(3), 3, 0.5, *class_centres(logits))
    assert (limits.temperature, limits.threshold, limits.distance) == (0.5, 0.0, float("inf"))


def test_wilsons_interval_agrees_with_the_published_example_and_stays_within_bounds() -> None:
    low, high = wilson_interval(8, 10)
    assert (low, high) == (pytest.approx(0.4902, abs=1e-3), pytest.approx(0.9433, abs=1e-3))
    assert wilson_interval(10, 10)[1] == 1.0
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_where_a_class_never_seen_is_likelier_more_is_refused_but_not_much_more() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), 250)

    def refused(below: float) -> float:
        """Share of the right answers beyond the limit, where ``below`` of them have a negative largest logit."""
        logits = np.full((1000, 4), -20.0)
        logits[np.arange(1000), truth] = np.where(rng.random(1000) < below, -1, 1) * rng.uniform(0.1, 1, 1000)
        centres, spread = class_centres(logits)
        limits = fit_limits(logits, truth, 4, 1.0, centres, spread, ratios=True)
        return float((distances(logits, centres, spread) > limits.distance).mean())

    assert refused(0.01) == pytest.approx(0.04, abs=0.005)
    assert refused(0.06) == pytest.approx(0.06, abs=0.02)
    assert refused(0.5) == pytest.approx(0.075, abs=0.005)
