"""One class, one status, one code."""

import re
from pathlib import Path

import pytest

from service import errors
from service.errors import ServiceError


def family(root: type[ServiceError]) -> list[type[ServiceError]]:
    return [kin for child in root.__subclasses__() for kin in (child, *family(child))]


def test_every_class_has_a_code_of_its_own():
    codes = [kind.code for kind in family(ServiceError)]
    assert len(set(codes)) == len(codes)


def test_every_code_stands_in_the_api_beside_its_status():
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    rows = [line for line in page.splitlines() if re.match(r"\|\s*\d{3}", line)]
    for kind in family(ServiceError):
        assert any(str(kind.status) in row.split("|")[1] and f"`{kind.code}`" in row for row in rows), kind


def test_every_class_stands_in_the_tree_of_the_module():
    for kind in family(ServiceError):
        assert re.search(rf"\b{kind.__name__}\b", errors.__doc__), kind


@pytest.mark.parametrize("kind", family(ServiceError))
def test_every_error_becomes_a_problem_of_one_shape(kind):
    problem = kind(errors=[{"loc": "x", "rule": "r", "message": "m"}] * 150).problem("req-1")
    assert set(problem) == {"type", "title", "status", "detail", "code", "errors", "errors_total", "request_id"}
    assert (problem["status"], problem["code"], problem["request_id"]) == (kind.status, kind.code, "req-1")
    assert (len(problem["errors"]), problem["errors_total"]) == (100, 150)
    assert problem["detail"]
