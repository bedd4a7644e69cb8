"""The page for people and the document for machines say the same."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

from service.gateway import routes as gateway_routes
from service.gateway.http.openapi import all_errors
from service.settings import Settings
from tests.support.openapi_routes import routes

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
ROUTE = re.compile(r"^\| (GET|POST|PUT|PATCH|DELETE) \| `([^`]+)` \| ([^|]+) \| ([0-9, ]+) \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def document(bench):
    return bench.ask("GET", "/openapi.json", None).json()


def test_every_route_is_on_the_page_and_every_route_on_the_page_is_served(document):
    served = {(route.method, route.path): route for route in routes(document)}
    on_page = {(method, path): (needs.strip(), answers) for method, path, needs, answers in ROUTE.findall(PAGE)}
    assert set(served) == set(on_page)
    for name, route in served.items():
        needs, answers = on_page[name]
        assert (needs != "nothing") == route.keyed, name
        assert {int(status) for status in answers.split(", ")} == route.successes, name


@pytest.mark.parametrize("word", ["websocket", "webhook", "quota", "onnx"])
def test_a_feature_is_either_served_or_listed_as_not_served(document, word):
    listed = re.search(r"^Not served by this release: (.+)$", PAGE, re.MULTILINE)
    assert (listed is None or word not in listed[1].lower()) == (word in str(document["paths"]).lower())


def test_every_error_code_is_on_the_page_with_its_status_and_the_other_way_round(document):
    table = PAGE.split("## 7. Error codes")[1]
    rows = re.findall(r"^\| ([0-9, ]+) \| (.+) \|$", table, re.MULTILINE)
    on_page = {code: statuses for statuses, codes in rows for code in re.findall(r"`([a-z_]+)`", codes)}
    assert set(on_page) == {kind.code for kind in all_errors()}
    assert set(on_page) == set(document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"])
    for kind in all_errors():
        assert str(kind.status) in on_page[kind.code].split(", ")


def test_every_setting_that_the_page_names_exists():
    named = set(re.findall(r"SKELETON_PROMPT_([A-Z_]+)", PAGE))
    assert len(named) >= 8
    assert {name.lower() for name in named} <= set(Settings.model_fields)


def test_every_reference_of_the_document_leads_somewhere(document):
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    found = set(re.findall(r"'\$ref': '([^']+)'", str(document)))
    assert found <= known
    for route in routes(document):
        content = route.operation.get("requestBody", {}).get("content", {})
        if route.method == "POST" and content:
            assert all(value["schema"] for value in content.values())


def test_every_answer_that_is_documented_as_an_error_is_a_problem(document):
    for route in routes(document):
        assert route.codes, route.name
        for status in route.codes:
            content = route.operation["responses"][str(status)]["content"]
            assert list(content) == ["application/problem+json"], route.name


def test_the_routes_of_every_module_are_part_of_the_application(document):
    names = [module.name for module in pkgutil.iter_modules(gateway_routes.__path__)]
    modules = [importlib.import_module(f"{gateway_routes.__name__}.{name}") for name in names]
    declared = {route.path for module in modules for route in module.router.routes if route.include_in_schema}
    assert len(declared) > 20
    assert declared <= set(document["paths"])
