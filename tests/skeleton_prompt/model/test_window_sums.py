"""Long clips computed a few windows at a time."""

import numpy as np
import pytest
import torch

from skeleton_prompt.model.engine import Engine
from skeleton_prompt.model.prompt_file import BackboneMismatch
from skeleton_prompt.model.window_batches import MAX_WINDOWS, windows_of
from skeleton_prompt.model.window_sums import Chunk, WindowSums
from tests.support.engine_rows import person, random_prompt, small_engine

KINDS = ({}, {"curve": 3, "likeness": 5}, {"temporal": 0.4}, {"blend": 0.3, "background": True})


@pytest.fixture(scope="module")
def shipped():
    """An engine with a shared projection, which is applied to averages over windows."""
    return Engine.load("edge")


def in_chunks(engine, one, prompt, size):
    """Logits of a row computed ``size`` windows at a time."""
    W = len(one.pose)
    before = None
    for start in range(0, W, size):
        chunk = Chunk(windows_of(one, slice(start, start + size)), prompt, before, start + size >= W)
        (before,) = engine.forward_chunks([chunk])
    return before


@pytest.mark.parametrize("kind", KINDS, ids=["linear", "quadratic", "temporal", "module"])
@pytest.mark.parametrize("depth", [False, True])
def test_a_row_in_chunks_has_the_logits_of_the_row_in_one_piece(kind, depth):
    engine = small_engine()
    prompt, one = random_prompt(engine, 1, **kind), person(3, windows=7, depth=depth)
    (whole,) = engine.forward([(one, prompt)])
    for size in (1, 2, 4, 7):
        np.testing.assert_allclose(in_chunks(engine, one, prompt, size), whole, atol=2e-5, rtol=1e-5)


def test_the_shared_projection_is_applied_to_the_average_of_all_windows(shipped):
    one, prompt = person(5, windows=6), random_prompt(shipped, 1)
    (sums,) = shipped.forward_chunks([Chunk(windows_of(one, slice(5)), prompt, last=False)])
    house = shipped.blocks["house"]
    assert len(sums.features) == house.start
    features = shipped.features([one])[0]
    part = torch.from_numpy(features.copy())
    part[house] = 0
    np.testing.assert_allclose(shipped._with_projection(part, False).numpy()[house], features[house], atol=1e-4)


def test_a_long_row_is_computed_in_bounded_passes_beside_short_ones(monkeypatch):
    engine = small_engine()
    prompts = [random_prompt(engine, seed, **kind) for seed, kind in enumerate(KINDS)]
    rows = [(person(n, windows=1 + 40 * n), prompt) for n, prompt in enumerate(prompts)]
    expected = [in_chunks(engine, one, prompt, 30) for one, prompt in rows]
    sizes = []
    encode = engine.encode
    monkeypatch.setattr(engine, "encode", lambda windows: sizes.append(len(windows.pose)) or encode(windows))
    for one, other in zip(engine.forward(rows), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5, rtol=1e-5)
    assert max(sizes) <= MAX_WINDOWS
    assert sum(sizes) == sum(len(one.pose) for one, _ in rows)


def test_a_chunk_whose_prompt_cannot_run_fails_alone():
    engine, other = small_engine(), small_engine(1)
    good, bad = random_prompt(engine, 1), random_prompt(other, 2)
    one = person(1, windows=4)
    first = windows_of(one, slice(2))
    sums, error = engine.forward_chunks([Chunk(first, good, last=False), Chunk(first, bad, last=False)])
    assert isinstance(sums, WindowSums)
    assert sums.windows == 2
    assert type(error) is BackboneMismatch
