"""Gate I2: random batches of 32 tenants answer as their rows do alone.

The whole gate, some minutes: ``MIXED_BATCHES=1000 pytest -o timeout=3000 tests/isolation/test_mixed_batches.py``.
"""

import os

import numpy as np
import pytest

from tests.support.engine_rows import person, random_prompt, small_engine

BATCHES = int(os.environ.get("MIXED_BATCHES", "5"))
TENANTS = 32
PEOPLE = 2


@pytest.mark.slow
def test_random_batches_of_32_tenants_equal_single_rows() -> None:
    engine = small_engine()
    rng = np.random.default_rng(0)
    prompts = [
        random_prompt(
            engine,
            seed,
            classes=2 + seed % 7,
            temporal=0.4 * (seed % 3 > 0),
            blend=0.4 * (seed % 4 == 0),
            background=seed % 5 == 0,
            curve=3 * (seed % 2),
            likeness=20 * (seed % 3 == 1),
        )
        for seed in range(TENANTS)
    ]
    people = [person(seed, windows=1 + seed % 2, depth=seed % 2 == 0) for seed in range(PEOPLE)]
    alone = [[engine.forward([(one, prompt)])[0] for prompt in prompts] for one in people]
    for _ in range(BATCHES):
        who, whose = rng.integers(PEOPLE, size=TENANTS), rng.integers(TENANTS, size=TENANTS)
        if rng.random() < 0.5:
            whose = rng.permutation(TENANTS)
        mixed = engine.forward([(people[p], prompts[q]) for p, q in zip(who, whose, strict=True)])
        for p, q, logits in zip(who, whose, mixed, strict=True):
            expected = alone[p][q]
            assert np.abs(logits - expected).max() <= 1e-5
            assert logits.argmax() == expected.argmax()
