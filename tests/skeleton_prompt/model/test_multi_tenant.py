import dataclasses
import gc
import weakref

import numpy as np
import pytest
import torch

from skeleton_prompt.model import multi_tenant
from skeleton_prompt.model.features import Windows
from skeleton_prompt.model.multi_tenant import (
    PromptTensorCache,
    group_by,
    linear_rows,
    run_isolated,
    send_packed,
    stack_key,
    stacked,
)
from skeleton_prompt.model.temporal_net import frontal, signals, stacked_temporal_logits, temporal_logits, windows_at
from skeleton_prompt.model.tensor_shapes import TEMPORAL
from tests.support.engine_rows import person, random_prompt, small_engine

ENGINE = small_engine()
PROMPTS = [random_prompt(ENGINE, seed, classes=2 + seed, temporal=0.5, blend=0.3 * (seed % 2)) for seed in range(4)]
PEOPLE = [person(seed, windows=1 + seed % 2) for seed in range(4)]


def temporal_part(prompt):
    return ENGINE.temporal_parameters(prompt)


def alone(person, prompt) -> np.ndarray:
    [logits] = ENGINE.forward([(person, prompt)])
    assert isinstance(logits, np.ndarray)
    return logits


def without_numbers(prompt, name: str, shape: tuple[int, ...] | None = None):
    """A prompt as no file can give it: with a tensor that is not finite, or one of another shape."""
    value = np.full_like(prompt.tensors[name], np.nan) if shape is None else np.zeros(shape, np.float32)
    return dataclasses.replace(prompt, tensors={**prompt.tensors, name: value})


def test_stacked_temporal_parts_say_what_each_says_by_itself() -> None:
    people = [person(seed) for seed in range(6)]
    windows = Windows.of(people)
    turned = frontal(windows, ENGINE.lift(windows))
    seen = [part.unflatten(0, (3, 2)).transpose(1, 2) for part in signals(windows_at(turned)[0])]
    parts = [temporal_part(prompt) for prompt in PROMPTS[:3]]
    with torch.inference_mode():
        together = stacked_temporal_logits(stacked(parts), (seen[0], seen[1], seen[2]))
        for index, part in enumerate(parts):
            mine = Windows.of(people[2 * index : 2 * index + 2])
            expected = temporal_logits(part, frontal(mine, ENGINE.lift(mine)))
            found = together[index, : expected.shape[1]].T
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert not together[0, PROMPTS[0].classes :].any()


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("temporal.trunk.2.weight", None),
        ("temporal.trunk.2.weight", (7, 5, 3)),
        ("temporal.head.2.bias", (99,)),
        ("temporal.shown", (5,)),
        ("linear.weight", None),
        ("linear.weight", (3, 5)),
        ("module.fusion.qkv", None),
        ("module.fusion.qkv", (7, 5)),
        ("module.head.centres", (2, 7)),
    ],
)
def test_a_damaged_part_spoils_only_the_rows_of_its_prompt(name: str, shape: tuple[int, ...] | None) -> None:
    damaged = without_numbers(PROMPTS[1], name, shape)
    order = [PROMPTS[0], damaged, PROMPTS[1], PROMPTS[3], damaged, PROMPTS[2]]
    rows = [(PEOPLE[index % 4], prompt) for index, prompt in enumerate(order)]
    for row, outcome in zip(rows, ENGINE.forward(rows), strict=True):
        if row[1] is damaged:
            assert isinstance(outcome, Exception)
        else:
            assert np.abs(outcome - alone(*row)).max() <= 1e-5


def test_stacked_linear_parts_say_what_each_says_by_itself() -> None:
    prompts = [
        random_prompt(ENGINE, seed, classes=2 + seed % 3, curve=3 * (seed % 2), likeness=20 * (seed % 3 > 0))
        for seed in range(8)
    ]
    owners = [prompts[index] for index in (0, 1, 2, 3, 4, 5, 6, 7, 3, 3, 1, 0)]
    damaged = without_numbers(prompts[5], "linear.weight", (3, 5))
    owners.append(damaged)
    people = [PEOPLE[index % 4] for index in range(len(owners))]
    features = torch.from_numpy(ENGINE.features(people))
    shelf = PromptTensorCache(torch.device("cpu"))
    missing = [0] * len(owners)
    found = linear_rows(shelf, owners, features, lambda blocks: torch.from_numpy(ENGINE.columns(blocks)), missing)
    assert isinstance(found.pop(len(owners) - 1), Exception)
    assert sorted(found) == list(range(len(owners) - 1))
    for row, logits in found.items():
        assert np.abs(logits.numpy() - alone(people[row], owners[row])).max() <= 1e-4


def test_tensors_that_go_to_a_device_in_one_piece_are_there_as_they_were() -> None:
    arrays = PROMPTS[1].tensors
    sent = send_packed(arrays, torch.device("cpu"))
    assert {name: value.shape for name, value in sent.items()} == {name: value.shape for name, value in arrays.items()}
    assert all(np.array_equal(value.numpy(), arrays[name]) for name, value in sent.items())
    assert len({value.untyped_storage().data_ptr() for value in sent.values()}) == 1


def test_off_the_host_a_prompt_is_placed_whole_and_what_only_the_host_reads_stays() -> None:
    shelf = PromptTensorCache(torch.device("meta"))
    parts = {prefix: shelf.part(PROMPTS[1], prefix) for prefix in multi_tenant.PARTS}
    names = {prefix + name for prefix, part in parts.items() for name in part}
    assert names == set(PROMPTS[1].tensors) - {"linear.centres", "linear.spread", "temporal.shown"}
    assert {value.device.type for part in parts.values() for value in part.values()} == {"meta"}


def test_rows_that_fail_together_are_tried_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(PEOPLE[0], prompt) for prompt in PROMPTS]
    expected = [alone(*row) for row in rows]
    whole = multi_tenant.stacked

    def failing(parts):
        if len(parts) > 1:
            raise MemoryError("no room for so many")
        return whole(parts)

    monkeypatch.setattr(multi_tenant, "stacked", failing)
    for outcome, logits in zip(ENGINE.forward(rows), expected, strict=True):
        assert np.abs(outcome - logits).max() <= 1e-5


def test_the_one_to_blame_has_the_error_and_the_others_their_values() -> None:
    def run(rows):
        return [torch.tensor(1 / (row - 2)) for row in rows]

    found = run_isolated([1, 2, 3], run)
    assert isinstance(found[2], ZeroDivisionError)
    assert [float(found[row]) for row in (1, 3)] == [-1.0, 1.0]


def test_rows_are_grouped_in_the_order_in_which_their_groups_begin() -> None:
    assert group_by([4, 1, 2, 3], lambda row: row % 2) == [[4, 2], [1, 3]]


def test_parts_that_differ_in_the_number_of_classes_alone_are_stacked_together() -> None:
    a, b = temporal_part(PROMPTS[0]), temporal_part(PROMPTS[1])
    assert stack_key(a) == stack_key(b)
    assert stack_key(a) != stack_key(a | {"trunk.0.weight": torch.zeros(1, 2, 3)})
    both = stacked([a, b])["head.2.weight"]
    assert both.shape == (2, PROMPTS[1].classes, 128)
    assert torch.equal(both[0, :2], a["head.2.weight"])
    assert not both[0, 2:].any()


def test_a_shelf_keeps_a_prompt_no_longer_than_others_do_and_takes_no_memory_of_its_own_on_a_cpu() -> None:
    shelf = PromptTensorCache(torch.device("cpu"))
    prompt = dataclasses.replace(PROMPTS[0])
    part = shelf.part(prompt, TEMPORAL)
    assert part["head.0.weight"].data_ptr() == prompt.tensors["temporal.head.0.weight"].ctypes.data
    assert shelf.part(prompt, TEMPORAL) is part
    gone = weakref.ref(prompt)
    del prompt
    gc.collect()
    assert gone() is None
