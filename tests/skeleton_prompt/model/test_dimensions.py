from dataclasses import replace

import numpy as np
import pytest

from skeleton_prompt.model.dimensions import dimension_of, seen_in_2d
from skeleton_prompt.model.prompt_file import BadPrompt, load_prompt, save_prompt
from tests.support.engine_rows import class_model_prompt, person, projected_engine
from training.jobs.training_examples import Example, of_one_dimension

ENGINE = projected_engine()
DEEP_PERSON, FLAT_PERSON = person(1, depth=True), person(2)
PROMPT = class_model_prompt(ENGINE, 1, temporal=0.3)


def test_a_version_taught_in_2d_sees_a_3d_clip_by_its_frontal_projection() -> None:
    flat = replace(PROMPT, dimension="2d")
    rows = [(DEEP_PERSON, flat), (seen_in_2d(DEEP_PERSON), flat), (DEEP_PERSON, PROMPT), (FLAT_PERSON, flat)]
    deep, projected, other, _ = ENGINE.forward(rows)
    assert np.abs(deep - projected).max() <= 1e-5
    assert np.abs(deep - other).max() > 1e-3
    for row, logits in zip(rows, ENGINE.forward(rows), strict=True):
        assert np.abs(ENGINE.forward([row])[0] - logits).max() <= 1e-5


def test_a_2d_person_is_left_as_it_is_and_a_3d_one_loses_its_depth_alone() -> None:
    assert seen_in_2d(FLAT_PERSON) is FLAT_PERSON
    flat = seen_in_2d(DEEP_PERSON)
    assert not flat.has_depth
    assert not flat.depth.any()
    assert flat.pose is DEEP_PERSON.pose


def test_clips_of_both_dimensions_teach_one_version_in_2d() -> None:
    examples = [Example(str(i), str(i), "wave", None, one) for i, one in enumerate((DEEP_PERSON, FLAT_PERSON))]
    assert dimension_of(one.person for one in of_one_dimension(examples)) == "2d"
    assert not any(one.person.has_depth for one in of_one_dimension(examples))
    assert of_one_dimension(examples[:1]) == examples[:1]
    assert dimension_of([DEEP_PERSON]) == "3d"


def test_the_dimension_is_kept_in_the_file_and_checked() -> None:
    assert load_prompt(save_prompt(replace(PROMPT, dimension="2d"))).dimension == "2d"
    assert load_prompt(save_prompt(PROMPT)).dimension == ""
    with pytest.raises(BadPrompt, match="dimension"):
        load_prompt(save_prompt(replace(PROMPT, dimension="4d")))
