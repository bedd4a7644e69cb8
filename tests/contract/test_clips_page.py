"""The page on clips lists every code and field that the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from service.gateway.schemas import LabelledClip

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "clips.md").read_text()
SOURCES = [*(ROOT / "skeleton_prompt" / "clips").glob("*.py"), *(ROOT / "service" / "gateway").rglob("*.py")]
CODES = {code for path in SOURCES for code in re.findall(r'Finding\(\s*"([a-z_]+)"', path.read_text())}


def test_there_are_codes():
    assert len(CODES) > 25


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_code_is_explained(code):
    assert f"`{code}`" in PAGE


def test_no_code_is_explained_that_does_not_exist():
    explained = set(re.findall(r"^\| `([a-z_]+)` \| (?:`|\|)", PAGE, re.MULTILINE))
    assert explained - set(LabelledClip.model_fields) <= CODES


@pytest.mark.parametrize("field", sorted(LabelledClip.model_fields))
def test_a_field_is_explained(field):
    assert re.search(rf"^\|[^|]*`{field}`[^|]*\|", PAGE, re.MULTILINE)
