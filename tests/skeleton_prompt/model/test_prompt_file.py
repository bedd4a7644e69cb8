import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeleton_prompt.model.prompt_file import BackboneMismatch, BadPrompt, digest, load_prompt, save_prompt
from tests.support.engine_rows import random_prompt, small_engine

ENGINE = small_engine()
DATA = save_prompt(random_prompt(ENGINE, 1, blend=0.4, background=True, temporal=0.5))


def test_a_prompt_survives_its_file_bit_for_bit() -> None:
    prompt = load_prompt(DATA, sha256=digest(DATA), backbone_sha256=ENGINE.backbone_sha256)
    assert save_prompt(prompt) == DATA
    assert prompt.background
    assert prompt.classes == 4


def test_a_prompt_of_another_backbone_is_told_apart_from_a_damaged_one() -> None:
    with pytest.raises(BackboneMismatch, match="was made for backbone"):
        load_prompt(DATA, backbone_sha256="f" * 64)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_no_flipped_byte_passes_the_hash(position: int, flip: int) -> None:
    data = bytearray(DATA)
    data[position] ^= flip
    with pytest.raises(BadPrompt):
        load_prompt(bytes(data), sha256=digest(DATA))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(DATA) - 1))
def test_a_truncated_file_is_refused(length: int) -> None:
    with pytest.raises(BadPrompt):
        load_prompt(DATA[:length])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("linear.bias"), "missing or unknown: linear.bias"),
        (lambda t: t.update(extra=t["linear.bias"]), "missing or unknown: extra"),
        (lambda t: t.update({"linear.bias": t["linear.bias"][:-1]}), "linear.bias has shape"),
        (lambda t: t["linear.weight"].__setitem__((0, 0), np.nan), "linear.weight holds a number that is not finite"),
        (lambda t: t["linear.weight"].__setitem__((0, 0), 1e9), "linear.weight holds a number that is not finite"),
        (lambda t: t.pop("module.query.key"), "missing or unknown"),
    ],
)
def test_a_prompt_with_wrong_tensors_is_refused_with_the_tensor_named(change, message: str) -> None:
    prompt = load_prompt(DATA)
    tensors = {name: value.copy() for name, value in prompt.tensors.items()}
    change(tensors)
    with pytest.raises(BadPrompt, match=message):
        save_prompt(dataclasses.replace(prompt, tensors=tensors))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("linear.square"), "missing or unknown: linear.square"),
        (lambda t: t.pop("linear.curve"), "missing or unknown: linear.bend"),
        (lambda t: t.update({"linear.bend": t["linear.bend"][:-1]}), "linear.bend has shape"),
        (lambda t: t.update({"linear.curve": t["linear.curve"][:, :-1]}), "linear.curve has shape"),
        (lambda t: t.update({"linear.curve": t["linear.curve"][0]}), "linear.curve has shape"),
        (lambda t: t.update({"linear.curve": np.zeros((300, len(t["linear.mean"])))}), "linear.curve has shape"),
        (lambda t: t.pop("likeness.mean"), "missing or unknown: likeness.bias"),
        (lambda t: t.pop("likeness.bias"), "missing or unknown: likeness.bias"),
        (lambda t: t.update({"likeness.weight": t["likeness.weight"][:, :-1]}), "likeness.weight has shape"),
        (lambda t: t.update({"likeness.mean": np.zeros(10**6)}), "likeness.mean is longer than linear.mean"),
    ],
)
def test_a_curve_and_a_likeness_are_there_whole_or_not_at_all(change, message: str) -> None:
    prompt = random_prompt(ENGINE, 1, curve=4, likeness=5)
    tensors = {name: value.copy() for name, value in prompt.tensors.items()}
    change(tensors)
    with pytest.raises(BadPrompt, match=message):
        save_prompt(dataclasses.replace(prompt, tensors=tensors))


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ()},
        {"labels": ("a", "a", "b")},
        {"module_weight": 1.5},
        {"temporal_weight": -0.1},
        {"temporal_weight": 0.5, "temporal_weight_missing_joints": 2.0},
    ],
    ids=["none", "twice", "blend", "temporal", "lacking"],
)
def test_senseless_metadata_is_refused_on_loading(change) -> None:
    prompt = random_prompt(ENGINE, 1)
    data = save_prompt(prompt)
    del data
    with pytest.raises(BadPrompt):
        load_prompt(save_prompt(dataclasses.replace(prompt, **change)))
