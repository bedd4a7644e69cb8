from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from tests.support.training_sets import training_set
from training.tuning.ensembling import DEFAULT_WEIGHT, DEFAULT_WEIGHT_MISSING_JOINTS, MemberTuners
from training.tuning.heads import Candidate
from training.tuning.linear_head import linear_logits
from training.tuning.model_selection import CandidateScore, choose
from training.tuning.plda import Prior
from training.tuning.stacked_nets import StackedTemporalNets
from training.tuning.temporal_tuner import FILTERS, temporal_numbers
from training.tuning.tune import TrainingSet, TuneConfig, tune

QUIET = lambda share, message: None  # noqa: E731


def test_a_tuned_prompt_tells_new_clips_of_its_labels() -> None:
    taught, asked = training_set(seed=5), training_set(seed=5, per_class=40)
    outcome = tune(taught, TuneConfig(), QUIET)
    logits = linear_logits(outcome.tensors, asked.columns(outcome.choice.chosen.blocks))
    assert (logits.argmax(1) == asked.truth).mean() > 0.95
    assert outcome.tensors["linear.centres"].shape == (3, 3)
    assert set(outcome.choice.scores) >= {"ridge(descriptors)", "prototypes(frozen+descriptors)"}


def test_the_same_lesson_and_seed_give_the_same_tensors() -> None:
    one, two = (tune(training_set(groups=3, background=6), TuneConfig(seed=1), QUIET) for _ in range(2))
    assert one.calibration == two.calibration
    assert all(np.array_equal(one.tensors[name], two.tensors[name]) for name in one.tensors)


def test_one_clip_per_label_is_taught_without_any_figure() -> None:
    outcome = tune(training_set(per_class=1, classes=4), TuneConfig(), QUIET)
    assert outcome.plan is None
    assert outcome.judged is None
    assert outcome.calibration.distance == float("inf")
    assert outcome.calibration.temperature > 0
    assert outcome.tensors["linear.weight"].shape[0] == 4


def test_background_is_one_more_logit_and_is_not_recognised() -> None:
    taught, asked = training_set(background=20, per_class=12), training_set(seed=0, background=100, per_class=12)
    outcome = tune(taught, TuneConfig(), QUIET)
    logits = linear_logits(outcome.tensors, asked.columns(outcome.choice.chosen.blocks))
    assert logits.shape[1] == 4
    unlike = logits[asked.truth == 3]
    assert (unlike.argmax(1) == 3).mean() > 0.7


def test_the_simplest_candidate_within_the_noise_of_the_best_is_chosen() -> None:
    def judged(kind: str, right: list[float]) -> CandidateScore:
        return CandidateScore(
            Candidate(kind, ("frozen",)), np.zeros((1, 6, 2)), np.array(right), float(np.mean(right)), 0.5
        )

    plain, best = judged("prototypes", [1, 1, 0, 0, 1, 1]), judged("lda", [1, 1, 1, 0, 1, 0])
    close = choose({one.candidate.name: one for one in (plain, best)})
    assert close.chosen.kind == "prototypes"
    better = judged("lda", [1, 1, 1, 1, 1, 1])
    clear = choose({one.candidate.name: one for one in (plain, better)})
    assert clear.chosen.kind == "lda"
    assert "most accurate" in clear.why


def test_what_stops_the_work_is_raised_out_of_it() -> None:
    def stop(share: float, message: str) -> None:
        raise InterruptedError(message)

    with pytest.raises(InterruptedError):
        tune(training_set(), TuneConfig(), stop)


class Oracle:
    """A prompt module that knows the truth, at a scale of its own."""

    def __init__(self, truth: np.ndarray) -> None:
        self.truth = truth

    tensors: ClassVar = {"module.head.scale": np.full(1, 10, dtype=np.float32)}

    def fit(self, lessons, labels, classes, seconds, tick) -> list[dict[str, np.ndarray]]:
        tick(0.5)
        return [dict(self.tensors) for _ in lessons]

    def logits(self, tensors: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
        return 50 * np.eye(3, dtype=np.float32)[self.truth[rows]]


class Noise(Oracle):
    """A prompt module that has learnt nothing."""

    def logits(self, tensors: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
        return np.random.default_rng(0).normal(size=(len(rows), 3)).astype(np.float32)


class Sequence(Oracle):
    """A temporal part that knows the truth, and nothing of clips that lack joints."""

    tensors: ClassVar = {"temporal.head.2.bias": np.ones(3, dtype=np.float32)}

    def __init__(self, taught: TrainingSet) -> None:
        super().__init__(taught.truth)
        self.features = taught.features

    def mostly_3d(self) -> bool:
        return True

    def missing_joint_features(self) -> np.ndarray:
        return self.features

    def missing_joint_logits(self, tensors: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
        return 50 * np.eye(3, dtype=np.float32)[(self.truth[rows] + 1) % 3]


class Flat(Sequence):
    """A temporal part of clips without depth."""

    def mostly_3d(self) -> bool:
        return False


class Chance(Sequence):
    """A temporal part that has learnt the wrong thing."""

    def logits(self, tensors: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
        return 50 * np.eye(3, dtype=np.float32)[(self.truth[rows] + 1) % 3]


def test_the_prompt_module_is_blended_in_only_where_it_gains() -> None:
    hard = training_set(per_class=24, signal=0.7)
    with_module = tune(hard, TuneConfig(), QUIET, MemberTuners(module=Oracle(hard.truth)))
    assert with_module.kind == "full"
    assert with_module.blend > 0
    assert with_module.judged is not None
    assert with_module.judged.accuracy > 0.95
    assert "module.head.scale" in with_module.tensors
    without = tune(hard, TuneConfig(), QUIET, MemberTuners(module=Noise(hard.truth)))
    assert without.kind != "full"
    assert without.blend == 0
    few = tune(
        training_set(per_class=4), TuneConfig(), QUIET, MemberTuners(module=Oracle(training_set(per_class=4).truth))
    )
    assert few.module is None


def test_the_temporal_part_is_blended_in_only_where_it_gains_and_leaves_familiarity_as_it_was() -> None:
    hard = training_set(per_class=5, signal=0.7)
    with_it = tune(hard, TuneConfig(), QUIET, MemberTuners(temporal=Sequence(hard)))
    assert with_it.kind == "temporal"
    assert 0 < with_it.temporal_blend < 1
    assert with_it.temporal is not None
    assert with_it.temporal.gain[0] > 0
    assert with_it.temporal.lacking == 0
    held_out, _ = with_it.held_out
    linear = with_it.choice.best.logits[:1]
    asked = np.isfinite(with_it.temporal.judged.logits[0, :, 0])
    assert np.allclose(held_out.max(1), linear[0, asked].max(1))
    without = tune(hard, TuneConfig(), QUIET, MemberTuners(temporal=Chance(hard)))
    assert without.kind != "temporal"
    assert without.temporal_blend == 0
    assert not any(name.startswith("temporal.") for name in without.tensors)
    assert without.temporal_note.startswith("gained ")


def test_with_one_clip_a_label_the_temporal_part_has_a_fixed_share_where_plda_speaks_beside_it() -> None:
    single = training_set(per_class=1, classes=4)
    assert tune(single, TuneConfig(), QUIET, MemberTuners(temporal=Sequence(single))).temporal is None
    known = replace(single, blocks={"house": slice(0, 90)}, prior=Prior(np.ones(90), np.ones(90)))
    outcome = tune(known, TuneConfig(), QUIET, MemberTuners(temporal=Sequence(known)))
    assert outcome.kind == "temporal"
    assert (outcome.temporal_blend, outcome.temporal.lacking) == (DEFAULT_WEIGHT, DEFAULT_WEIGHT_MISSING_JOINTS)
    assert outcome.judged is None
    assert tune(known, TuneConfig(), QUIET, MemberTuners(temporal=Flat(known))).temporal is None


def test_the_temporal_part_is_left_out_where_no_time_is_given() -> None:
    taught = training_set(per_class=5)
    outcome = tune(taught, TuneConfig(temporal_seconds=0), QUIET, MemberTuners(temporal=Sequence(taught)))
    assert outcome.temporal is None
    assert outcome.temporal_note == "left out"


def test_a_head_that_leaves_no_room_for_the_temporal_part_is_passed_over(monkeypatch) -> None:
    taught = training_set(per_class=8)
    free = tune(taught, TuneConfig(temporal_seconds=0), QUIET)
    size = sum(value.size for value in free.tensors.values())
    monkeypatch.setattr("training.tuning.tune.MAX_PARAMETERS", size + 1000)
    monkeypatch.setattr("training.tuning.tune.temporal_numbers", lambda classes: 0)
    assert (
        tune(taught, TuneConfig(), QUIET, MemberTuners(temporal=Sequence(taught))).choice.chosen == free.choice.chosen
    )
    monkeypatch.setattr("training.tuning.tune.MAX_PARAMETERS", size - 1)
    smaller = tune(taught, TuneConfig(), QUIET, MemberTuners(temporal=Chance(taught)))
    assert sum(value.size for value in smaller.tensors.values()) < size
    assert "1 that were better" in smaller.choice.why
    assert set(smaller.choice.scores) == set(free.choice.scores)


def test_where_no_head_is_small_enough_the_choice_is_among_all(monkeypatch) -> None:
    taught = training_set(per_class=8)
    free = tune(taught, TuneConfig(), QUIET).choice
    monkeypatch.setattr("training.tuning.tune.MAX_PARAMETERS", 1)
    assert tune(taught, TuneConfig(), QUIET).choice.chosen == free.chosen


def test_the_room_kept_for_a_temporal_part_is_what_it_takes() -> None:
    nets = StackedTemporalNets(1, FILTERS, 7, dropout=0.0, spatial=0.0).eval()
    assert temporal_numbers(7) == sum(value.size for value in nets.folded(0).values()) + 17
