import numpy as np
import pytest

from tests.support.training_sets import training_set
from training.tuning.heads import STRENGTHS, Candidate, fit_head, fit_lda, fit_ridges, held_out_logits
from training.tuning.linear_head import linear_logits

BOTH = ("frozen", "descriptors")
EVERY = [
    Candidate("prototypes", BOTH),
    Candidate("ridge", BOTH, 0.1),
    Candidate("lda", BOTH),
    Candidate("lda", BOTH[:1]),
]


@pytest.mark.parametrize("candidate", EVERY, ids=lambda one: one.name)
def test_the_head_in_the_features_gives_the_logits_of_the_dual_form(candidate: Candidate) -> None:
    taught, asked = training_set(seed=0), training_set(seed=0, per_class=9)
    both = {name: np.concatenate([taught.features, asked.features])[:, cols] for name, cols in taught.blocks.items()}
    n = len(taught.truth)
    labels = np.concatenate([taught.truth, asked.truth])
    dual = held_out_logits([candidate], both, labels, 3, np.arange(n), np.arange(n, len(labels)))[candidate]
    head = fit_head(candidate, taught.block_features(), taught.truth, 3)
    tensors = {f"linear.{name}": getattr(head, name) for name in ("mean", "scale", "weight", "bias")}
    primal = linear_logits(tensors, asked.columns(candidate.blocks))
    assert np.allclose(primal, dual, atol=1e-4)
    rounded = linear_logits(head.tensors(), asked.columns(candidate.blocks))
    assert np.abs(rounded - primal).max() < 0.02 * np.abs(primal).max()
    assert (dual.argmax(1) == asked.truth).mean() > 0.9


def test_ridge_solves_its_normal_equations_with_classes_weighing_the_same() -> None:
    rng = np.random.default_rng(0)
    labels = np.array([0] * 7 + [1] * 2 + [2] * 3)
    x = rng.normal(size=(12, 40))
    gram = x @ x.T
    (dual,) = fit_ridges(gram, labels, 3, [0.1])
    weights = 12 / (3 * np.bincount(labels)[labels])
    penalty = 0.1 * np.trace(gram) / 12
    goal = np.eye(3)[labels] - 1 / 3
    assert np.allclose(weights[:, None] * (gram @ dual.alpha - goal) + penalty * dual.alpha, 0, atol=1e-8)


def test_a_feature_that_never_varied_while_teaching_cannot_decide_later() -> None:
    one = training_set()
    one.features[:, :5] = 0.0
    head = fit_head(Candidate("ridge", BOTH, STRENGTHS[0]), one.block_features(), one.truth, 3)
    odd = one.columns(BOTH).copy()
    odd[:, :5] = 3.0
    assert (linear_logits(head.tensors(), odd).argmax(1) == one.truth).all()


def test_lda_of_equal_clips_has_no_preference_instead_of_failing():
    solution = fit_lda(np.zeros((4, 4)), np.array([0, 0, 1, 1]), 2)
    assert (solution.alpha == 0).all()
    assert (solution.bias == 0).all()
