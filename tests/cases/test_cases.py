"""Inputs that people really had: each is read, mended with a word, or refused with the way out.

The inputs lie outside the repository (``SKELETON_PROMPT_CASES``); what each expects stands in ``*_cases.py``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cases import file_cases, input_cases
from tests.cases.expectations import Expectation

EXPECTED = [
    pytest.param(number, expectation, id=number)
    for number, expectation in sorted(
        [*file_cases.EXPECTED.items(), *input_cases.EXPECTED.items()], key=lambda row: row[0]
    )
]


@pytest.mark.parametrize(("number", "expectation"), EXPECTED)
def test_a_case_is_met(number: str, expectation: Expectation, cases: Path) -> None:
    (folder,) = sorted(cases.glob(f"{number}-*"))
    expectation(folder)
