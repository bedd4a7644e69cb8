"""Inputs that people really had: each is read, mended with a word, or refused with the way out.

The inputs lie outside the repository (``SKELETON_PROMPT_CASES``); what each expects stands in ``*_cases.py``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cases import file_cases

EXPECTED = {**file_cases.EXPECTED}


@pytest.mark.parametrize("number", sorted(EXPECTED))
def test_a_case_is_met(number: str, cases: Path) -> None:
    (folder,) = sorted(cases.glob(f"{number}-*"))
    EXPECTED[number](folder)
