from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from skeleton_prompt.model.engine import Engine
from tests.support.evaluation_sets import write_set
from tests.support.recordings import ENGINE
from training.tuning.temporal_tuner import TemporalConfig


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of labelled sets, with one small set in it."""
    return write_set(tmp_path / "sets")


@pytest.fixture(autouse=True)
def small_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "load", lambda *args, **kwargs: ENGINE)


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporal parts that are hardly taught: what they are worth is not the question here."""
    monkeypatch.setattr("training.tuning.temporal_tuner.MIN_STEPS", 2)
    monkeypatch.setattr(
        "training.tuning.temporal_tuner.TemporalConfig", partial(TemporalConfig, steps=2, batch=4, copies=0)
    )
