import numpy as np
import pytest

from tests.support.training_sets import training_set
from training.tuning.calibration import CORPUS_LIMIT, REFUSALS, corpus_calibration, fit_familiarity, judge_known


def held_out(scores: np.ndarray, labels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Logits of clips told right, whose familiarity is about ``scores`` because their confidence is a half."""
    truth = np.arange(len(scores)) % labels
    logits = np.tile(scores[:, None], (1, labels)) - 1e-9
    logits[np.arange(len(scores)), truth] = scores
    return logits, truth


def limits(scores: np.ndarray, *, grouped: bool = False) -> dict[float, float]:
    logits, truth = held_out(scores)
    return dict(fit_familiarity(logits, truth, 3, 1.0, 0.05, grouped=grouped).familiarity)


def test_the_limit_is_a_quarter_of_the_fifth_percentile_and_half_of_it_with_groups() -> None:
    scores = np.linspace(0.2, 2.0, 199)  # the 10th smallest is 0.2818...
    tenth = np.sort(scores)[9] + 0.1 * np.log(0.5)  # three equal logits: a confidence of a third
    assert limits(scores)[0.05] == pytest.approx(tenth / 4, abs=1e-3)
    assert limits(scores, grouped=True)[0.05] == pytest.approx(tenth / 2, abs=1e-3)


def test_the_limit_is_at_most_that_of_the_corpus_and_rises_with_the_refusals_asked_for() -> None:
    found = limits(np.linspace(3.0, 9.0, 199))
    assert found[0.05] == CORPUS_LIMIT
    values = [found[share] for share in REFUSALS]
    assert values == sorted(values)
    assert found[0.5] > found[0.05] + 2


def test_negative_quantiles_are_not_shrunk_towards_zero() -> None:
    scores = np.linspace(-1.0, 2.0, 199)
    assert limits(scores)[0.05] == pytest.approx(np.sort(scores)[9] + 0.1 * np.log(0.5), abs=1e-3)


def test_few_held_out_clips_leave_the_limits_of_the_corpus() -> None:
    logits, truth = held_out(np.linspace(1, 2, 9))
    assert fit_familiarity(logits, truth, 3, 1.0, 0.05, grouped=False) == corpus_calibration(1.0, 0.05)


def test_background_that_looks_familiar_raises_the_limits() -> None:
    logits, truth = held_out(np.linspace(0.2, 2.0, 199))
    unlike, _ = held_out(np.full(100, 0.4))
    logits = np.concatenate([logits, unlike])
    logits = np.concatenate([logits, np.full((len(logits), 1), -9.0)], 1)
    truth = np.concatenate([truth, np.full(100, 3)])
    found = fit_familiarity(logits, truth, 3, 1.0, 0.05, grouped=False)
    passing = judge_known(found, {}, logits, 3).known
    assert passing[199:].mean() <= 0.05
    assert passing[:199].mean() >= 0.79


def test_prediction_sets_are_as_wide_as_their_coverage_needs() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2000, 5)) * 2
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = np.array([rng.choice(5, p=row) for row in p])
    for share, least in fit_familiarity(logits, truth, 5, 1.0, 0.05, grouped=False).coverage:
        covered = (p[np.arange(2000), truth] >= least).mean()
        assert covered == pytest.approx(share, abs=0.01)


def test_the_report_asks_for_groups_and_says_what_their_lack_costs() -> None:
    from training.tuning.report import Facts, build_report
    from training.tuning.tune import TuneConfig, tune

    taught = training_set(per_class=5)
    warnings = build_report(taught, tune(taught, TuneConfig(), lambda *_: None), Facts())["warnings"]
    assert any("`group`" in line and "untaught actions" in line for line in warnings)
    grouped = training_set(per_class=6, groups=3)
    report = build_report(grouped, tune(grouped, TuneConfig(), lambda *_: None), Facts())
    assert not any("`group`" in line for line in report["warnings"])
