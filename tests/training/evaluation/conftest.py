from __future__ import annotations

from pathlib import Path

import pytest

from skeleton_prompt.engine import Engine
from tests.training.evaluation.sets import write_set
from tests.training.recordings import ENGINE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of labelled sets, with one small set in it."""
    return write_set(tmp_path / "sets")


@pytest.fixture(autouse=True)
def small_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "load", lambda *args, **kwargs: ENGINE)
