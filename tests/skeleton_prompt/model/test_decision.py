import itertools
from dataclasses import dataclass, replace

import numpy as np
import pytest

from skeleton_prompt.model.decision import DecisionOptions, Prediction, classify
from skeleton_prompt.model.prompt_file import Calibration

FAMILIAR = Calibration(1.0, familiarity=((0.05, 0.3), (0.5, 0.9)), coverage=((0.5, 0.4), (0.99, 0.01)))


@dataclass(frozen=True)
class Taught:
    labels: tuple[str, ...] = ("lunge", "squat", "wave")
    background: bool = False


@dataclass(frozen=True)
class Seen:
    visible: float = 1.0
    frames: int = 60


def answer(
    largest: float,
    gap: float = 4.0,
    *,
    seen: Seen = Seen(),
    taught: Taught = Taught(),
    calibration: Calibration = FAMILIAR,
    missing: int = 0,
    logits: list[float] | None = None,
    **options: float,
) -> Prediction:
    """The answer where squat has the largest logit and lunge is ``gap`` below."""
    values = np.array(logits or [largest - gap, largest, largest - 9], dtype=np.float32)

    def distance() -> float:
        raise AssertionError("a prompt with a class model measures no distance")

    return classify(taught, calibration, seen, values, distance, DecisionOptions(**options), missing=missing)


def test_a_clip_like_the_taught_ones_is_known_and_the_answer_says_by_how_much() -> None:
    said = answer(1.0)
    assert (said.label, said.known, said.reason, said.explanation) == ("squat", True, None, None)
    assert said.familiarity == pytest.approx(1.0 + 0.1 * 4.0, abs=0.02)
    assert said.margin == pytest.approx(said.confidence - said.predictions[1][1])
    assert said.limits == {"visible": 0.15, "frames": 5.0, "refusal": 0.05, "confidence": 0.0, "familiarity": 0.3}


def test_an_unfamiliar_clip_is_refused_in_words() -> None:
    said = answer(-0.2)
    assert (said.label, said.known, said.reason) == (None, False, "unlike_taught")
    assert said.explanation == "unlike every taught label; the closest label is squat"
    assert answer(0.0, 0.1).explanation == "unlike every taught label; between squat and lunge"
    assert (
        answer(-0.2, missing=5).explanation == "5 joints are missing that your clips show; the closest label is squat"
    )
    assert answer(-0.2, missing=1).explanation.startswith("1 joint is missing")


def test_less_refusal_refuses_less_and_a_threshold_moves_every_limit() -> None:
    assert answer(0.0, refusal=0.0).known  # below the first share the first limit holds
    assert not answer(0.3, refusal=0.5).known
    assert answer(0.3, refusal=0.05).known
    assert answer(-5.0, threshold=0.0).known
    assert answer(-5.0, threshold=0.0, seen=Seen(0.01, 1)).known
    assert not answer(5.0, threshold=1.0).known
    same = answer(0.2, threshold=0.5)
    assert same.limits["familiarity"] == pytest.approx(0.3)
    assert answer(1.0, 0.2, threshold=0.9).reason == "below_threshold"
    assert answer(1.0, 0.2, threshold=0.9).explanation == "between squat and lunge"


def test_too_little_to_see_is_said_with_the_limit() -> None:
    said = answer(1.0, seen=Seen(0.1))
    assert (said.reason, said.explanation) == (
        "too_little_visible",
        "10% of the joints are visible, at least 15% are needed",
    )
    assert answer(1.0, seen=Seen(frames=4)).explanation == "4 frames show the person, at least 5 are needed"
    assert answer(1.0, seen=Seen(0.15, 5)).known


def test_background_is_refused_unless_the_threshold_is_lowered() -> None:
    taught = Taught(background=True)
    logits = [0.0, 1.0, -3.0, 2.0]
    said = answer(0, taught=taught, logits=logits)
    assert (said.reason, said.explanation) == ("background", "like the clips taught as background")
    assert answer(0, taught=taught, logits=logits, threshold=0.0).known
    assert answer(0, taught=taught, logits=[0.0, 1.9, -3.0, 1.0]).known


def test_a_prediction_set_grows_with_its_coverage_and_is_never_empty() -> None:
    sets = [answer(1.0, 1.0, coverage=coverage).label_set for coverage in (0.5, 0.75, 0.99)]
    assert sets[0] == ("squat",)
    assert sets[-1] == ("squat", "lunge")
    assert all(a == b[: len(a)] for a, b in itertools.pairwise(sets))
    assert answer(1.0, 0.0, logits=[0.0, 0.0, 0.0], coverage=0.5).label_set == ("lunge",)
    without = replace(FAMILIAR, coverage=())
    assert answer(1.0, 1.0, calibration=without, coverage=0.9).label_set == ("squat", "lunge")
    assert answer(1.0).label_set is None
    assert answer(1.0, 1.0, coverage=0.5).to_dict()["set"] == {"labels": ["squat"], "coverage": 0.5}


def test_one_label_alone_has_no_next_one() -> None:
    said = answer(0.0, taught=Taught(("squat",)), logits=[-1.0])
    assert said.margin == 1.0
    assert said.explanation == "unlike every taught label; the closest label is squat"
