from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.metrics import roc_auc_score

from skeleton_prompt.model.decision import softmax
from tests.support.engine_rows import small_engine
from training.tuning import plda
from training.tuning.heads import Candidate, held_out_logits
from training.tuning.linear_head import linear_logits
from training.tuning.plda import Prior, fit_class_model, fit_plda, prior_of
from training.tuning.tune import TrainingSet, TuneConfig, fit_tensors, tune

R = 12  # not more than the directions of the curve, so that nothing is left out of it
PRIOR = Prior(within=np.linspace(0.5, 2.0, R), between=np.linspace(4.0, 1.0, R))


def clips(classes: int, per_class: int, seed: int = 0, *, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Clips as the model has them; classes of one number are the same whatever the seed."""
    centres = np.random.default_rng(99).normal(size=(50, R)) * np.sqrt(PRIOR.between)
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    noise = rng.normal(size=(len(labels), R)) * np.sqrt(PRIOR.within)
    return centres[first + labels] + noise, labels


@pytest.mark.parametrize("per_class", [1, 4])
def test_scores_are_log_likelihood_ratios_of_the_two_covariance_model(per_class: int) -> None:
    x, labels = clips(3, per_class)
    asked, _ = clips(3, 5, seed=1)
    mean = x.mean(0)
    centres = np.stack([x[labels == label].mean(0) - mean for label in range(3)])
    freedom = len(x) - 3
    within, _, other_people = plda._within(x - mean - centres[labels], freedom, PRIOR)
    assert other_people == (0.0 if per_class == 1 else plda.OTHER_PEOPLE)
    between = np.diag(PRIOR.between)
    if per_class > 1:
        found = centres.var(0, ddof=1).sum() - np.trace(within) / per_class
        between = between * found / PRIOR.between.sum()
    within = within + other_people * np.diag(PRIOR.within)
    gain = between @ np.linalg.inv(between + within / per_class)
    left = between - gain @ between
    unseen = multivariate_normal(np.zeros(R), within + between)
    direct = (
        np.stack([multivariate_normal(gain @ centre, within + left).logpdf(asked - mean) for centre in centres], 1)
        - unseen.logpdf(asked - mean)[:, None]
    )
    logits = fit_plda(x, labels, 3, PRIOR).logits(asked).astype(float)
    unit = direct.std() / logits.std()
    assert np.allclose(logits * unit, direct, atol=1e-3 * np.abs(direct).max())


def test_the_largest_score_tells_classes_that_were_never_taught() -> None:
    x, labels = clips(4, 5)
    head = fit_plda(x, labels, 4, PRIOR)
    tensors = head.tensors()
    known, truth = clips(4, 50, seed=1)
    unknown, _ = clips(6, 50, seed=2, first=10)
    scores = linear_logits(tensors, known)
    assert (scores.argmax(1) == truth).mean() > 0.9
    largest = np.concatenate([scores.max(1), linear_logits(tensors, unknown).max(1)])
    assert roc_auc_score(np.repeat([1, 0], [200, 300]), largest) > 0.9


def test_what_is_known_beforehand_helps_where_clips_are_few() -> None:
    truth = clips(8, 200, seed=3)
    flat = Prior(np.ones(R), np.ones(R))

    def accuracy(prior: Prior) -> float:
        draws = [clips(8, 2, seed=seed) for seed in range(20)]
        return float(
            np.mean([(fit_plda(*one, 8, prior).logits(truth[0]).argmax(1) == truth[1]).mean() for one in draws])
        )

    assert accuracy(PRIOR) > accuracy(flat)


def test_a_class_without_a_clip_is_never_the_answer() -> None:
    x, labels = clips(3, 4)
    logits = fit_plda(x, labels, 4, PRIOR).logits(clips(3, 50, seed=1)[0])
    assert logits.shape == (150, 4)
    assert (logits.argmax(1) != 3).all()


def test_a_curve_of_fewer_directions_is_still_close(monkeypatch) -> None:
    x, labels = clips(3, 6)
    asked, _ = clips(5, 20, seed=1)
    whole = fit_plda(x, labels, 3, PRIOR).logits(asked).max(1)
    monkeypatch.setattr(plda, "CURVE", 2)
    assert np.corrcoef(fit_plda(x, labels, 3, PRIOR).logits(asked).max(1), whole)[0, 1] > 0.95


def test_cross_validation_asks_the_head_that_is_deployed() -> None:
    x, labels = clips(3, 6)
    candidate = Candidate("plda", ("house",), prior=PRIOR)
    rows, others = np.arange(0, 18, 2), np.arange(1, 18, 2)
    held = held_out_logits([candidate], {"house": x}, labels, 3, rows, others)[candidate]
    assert np.allclose(held, fit_plda(x[rows], labels[rows], 3, PRIOR).logits(x[others]))


def test_another_head_borrows_from_plda_how_familiar_a_clip_is() -> None:
    x, labels = clips(4, 5)
    known, _ = clips(4, 50, seed=1)
    unknown, _ = clips(6, 50, seed=2, first=10)
    names = tuple(f"action {label}" for label in labels)
    one = TrainingSet(x.astype(np.float32), {"house": slice(0, R)}, names, (None,) * 20, names, PRIOR)
    outcome = tune(one, TuneConfig(kinds=("ridge", "plda")), lambda *_: None)
    forced = replace(outcome.choice, chosen=next(c.candidate for n, c in outcome.choice.scores.items() if "ridge" in n))
    tensors = fit_tensors(one, forced)
    plain = {name: value for name, value in tensors.items() if name.startswith("linear.")}
    asked = np.concatenate([known, unknown])
    logits, before = linear_logits(tensors, asked), linear_logits(plain, asked)
    assert np.allclose(softmax(logits), softmax(before), atol=1e-5)
    own = fit_class_model(x, labels, 4, PRIOR).parameters(0)
    scores = linear_logits({f"linear.{name}": value for name, value in own.items()}, asked) / own["expected"]
    assert np.allclose(logits.max(1), scores.max(1), atol=0.05)
    assert np.corrcoef(logits.max(1), fit_plda(x, labels, 4, PRIOR).logits(asked).max(1))[0, 1] > 0.99
    taught = np.repeat([1, 0], [200, 300])
    assert roc_auc_score(taught, logits.max(1)) > roc_auc_score(taught, before.max(1))


def test_a_backbone_that_says_nothing_of_variances_has_no_prior() -> None:
    assert prior_of(small_engine()) is None
