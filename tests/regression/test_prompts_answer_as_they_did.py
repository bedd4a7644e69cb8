"""Small prompts that were saved answer as they did: whatever changes on the way from a clip to logits shows here."""

import json

import numpy as np
import pytest

from skeleton_prompt.model.engine import Engine
from skeleton_prompt.model.prompt_file import load_prompt
from tests.regression.make import ACTIONS, BACKBONE, FOLDER, HEADS, person_of
from training.tuning.model_selection import CANDIDATES

TOLERANCE = 2e-3  # other processors and thread counts round differently; logits are of unit size


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load(BACKBONE)


@pytest.fixture(scope="module")
def answers() -> dict:
    return json.loads((FOLDER / "logits.json").read_text())


@pytest.fixture(scope="module")
def people() -> list:
    return [person_of(document) for document in json.loads((FOLDER / "clips.json").read_text())]


def test_the_files_are_for_the_backbone_that_ships(engine: Engine, answers: dict) -> None:
    assert engine.backbone_sha256 == answers["backbone_sha256"], "make them anew: python -m tests.regression.make"


@pytest.mark.parametrize("name", HEADS)
def test_a_saved_prompt_gives_the_logits_that_it_gave(name: str, engine: Engine, answers: dict, people: list) -> None:
    prompt = load_prompt((FOLDER / f"{name}.safetensors").read_bytes(), backbone_sha256=engine.backbone_sha256)
    logits = np.stack(engine.forward([(person, prompt) for person in people]))
    assert np.abs(logits - np.array(answers[name])).max() < TOLERANCE * max(1.0, np.abs(logits).max())
    told = [prompt.labels[index] for index in logits.argmax(1)]
    assert np.mean([label == ACTIONS[i % len(ACTIONS)] for i, label in enumerate(told)]) > 0.5  # chance is a quarter


def test_every_kind_of_head_that_tuning_may_choose_has_a_file() -> None:
    assert {kind for kind, _ in CANDIDATES} <= {candidate.kind for candidate in HEADS.values()}


def test_a_prompt_saved_by_0_1_loads_with_its_weights_under_their_present_names() -> None:
    prompt = load_prompt((FOLDER / "saved_by_0_1" / "temporal.safetensors").read_bytes())
    assert prompt.labels == ACTIONS
    assert (prompt.kind, prompt.blocks, prompt.module_weight, prompt.temporal_weight) == (
        "temporal",
        ("house",),
        0,
        0.5,
    )
    assert prompt.backbone_sha256.startswith("83fa8609aaf3")
    assert prompt.has_temporal
