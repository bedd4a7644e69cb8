"""One error shape for every route, read from the OpenAPI document."""

import pytest

from service import errors
from tests.support.gateway_app import ADMIN, person
from tests.support.openapi_routes import routes

FIELDS = {"type", "title", "status", "detail", "code", "errors", "request_id"}
NEVER = ("Traceback", 'File "', "site-packages", "sqlalchemy", "sqlite")


def check(response, request_id=None):
    """Whether an answer is a problem of the documented shape."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    problem = response.json()
    assert set(problem) - {"errors_total"} == FIELDS
    assert problem["status"] == response.status_code
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == response.headers["X-Request-Id"]
    if request_id is not None:
        assert problem["request_id"] == request_id
    for row in problem["errors"]:
        assert set(row) == {"loc", "rule", "message"}
    assert bool(problem["errors"]) == ("errors_total" in problem)
    assert not any(word in response.text for word in NEVER)
    return problem


@pytest.fixture(scope="module")
def every(bench):
    return routes(bench.ask("GET", "/openapi.json", None).json())


def test_without_a_key_every_keyed_route_answers_401(bench, every):
    for route in every:
        response = bench.ask(route.method, route.address(), None, headers={"X-Request-Id": "no-key"})
        if route.keyed:
            assert check(response, "no-key")["code"] == "unauthenticated", route.name
            assert response.headers["WWW-Authenticate"] == "Bearer"
        else:
            assert response.status_code != 401, route.name


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic abc", "Bearer " + "x" * 5000, "bearer sp_x_y", "Token x"]
)
def test_a_key_that_cannot_be_one_is_answered_as_none(bench, every, header):
    for route in every:
        if route.keyed:
            response = bench.ask(route.method, route.address(), None, headers={"Authorization": header})
            assert check(response)["code"] == "unauthenticated", route.name


def test_what_does_not_exist_is_a_documented_problem_everywhere(bench, every):
    for route in every:
        if "{" not in route.path:
            continue
        response = bench.ask(route.method, route.address())
        assert check(response)["code"] in route.codes[response.status_code], route.name


def test_a_body_that_is_none_is_a_documented_problem_on_every_route_that_reads_one(bench, every, taught):
    for route in every:
        if "requestBody" not in route.operation:
            continue
        path = route.address(tenant=taught[0])
        for content, headers in (
            (b"{", {}),
            (b"[1]", {}),
            (b"\xff\xfe", {}),
            (b"x", {"Content-Type": "text/plain"}),
            (b"x", {"Content-Encoding": "gzip"}),
            (b"x", {"Content-Encoding": "br"}),
            (b"", {"Content-Length": str(10**12)}),
        ):
            response = bench.ask(route.method, path, content=content, headers=headers)
            problem = check(response)
            assert problem["code"] in route.codes[response.status_code], (route.name, content, headers)
            assert 400 <= response.status_code < 500


def test_an_idempotency_key_that_cannot_be_one_is_refused(bench, every, taught):
    for route in every:
        names = {parameter["name"] for parameter in route.operation.get("parameters", [])}
        if "Idempotency-Key" not in names:
            continue
        bodies = {"/tenants": {"id": "never-made"}}
        body = bodies.get(route.path, {"clips": [person(label="a")], "clip": person(), "label": "a"})
        path = route.address(tenant=taught[0])
        response = bench.ask(route.method, path, json=body, headers={"Idempotency-Key": "x" * 256})
        assert check(response)["errors"][0]["rule"] == "bad_idempotency_key", route.name


def test_a_method_that_a_path_does_not_know_is_answered_405_with_what_it_knows(bench, every):
    for path in {route.path for route in every}:
        known = {route.method for route in every if route.path == path}
        response = bench.ask(
            "PATCH",
            path.format_map({"tenant": "a", "version": "1"} | dict.fromkeys(("key", "clip", "job", "name"), "a")),
        )
        assert response.status_code == 405, path
        assert check(response)["code"] == "method_not_allowed"
        assert known <= {method.strip() for method in response.headers["Allow"].split(",")}


@pytest.mark.parametrize("path", ["/nothing", "/tenants/a/b/c/d", "/predict/", "/%00", "/%ff", "/tenants/%2e%2e/jobs"])
def test_an_address_that_does_not_exist_is_answered_404(bench, path):
    assert check(bench.ask("GET", path))["code"] == "not_found"


def test_a_query_that_makes_no_sense_is_a_problem_with_its_place(bench, every, taught):
    for route in every:
        names = [p["name"] for p in route.operation.get("parameters", []) if p["in"] == "query"]
        for name in names:
            cursor = name == "after" and not route.path.endswith("/events")
            value = "x" * 300 if cursor else "\x01no"
            job = bench.storage.tenant(taught[0]).list_jobs(1).items[0].id
            path = route.address(tenant=taught[0], version="1", job=job)
            response = bench.ask(route.method, path, params={name: value})
            assert check(response)["errors"][0]["loc"] == f"query.{name}", route.name


class Broken:
    """Stands for a storage that fails in a way nobody foresaw."""

    def __getattr__(self, name):
        raise RuntimeError("the secret word is rosebud")


def test_the_unforeseen_is_answered_with_the_request_id_and_nothing_else(bench, every):
    gateway = bench.app.state.gateway
    whole = gateway.storage
    object.__setattr__(gateway, "storage", Broken())
    try:
        for route in every:
            if route.keyed:
                response = bench.ask(route.method, route.address(), headers={"X-Request-Id": "odd-1"}, content=b"{}")
                assert check(response, "odd-1")["code"] == "internal", route.name
                assert response.json()["errors"] == []
                assert "rosebud" not in response.text
    finally:
        object.__setattr__(gateway, "storage", whole)


def test_a_database_that_does_not_answer_is_told_apart_from_a_defect(bench, every, monkeypatch):
    def locked(*_):
        raise errors.StorageUnavailable("The database does not answer.", retry_after=1.0)

    monkeypatch.setattr(bench.storage.admin, "authenticate", locked)
    monkeypatch.setattr(bench.storage.admin, "authenticate_nowait", lambda *_: None)
    monkeypatch.setattr(bench.storage.database, "read_nowait", lambda *_: None)
    monkeypatch.setattr(bench.storage.admin, "resolve_prediction", locked)
    for route in every:
        if route.keyed:
            response = bench.ask(route.method, route.address(), ADMIN, json=person(tenant="a"))
            assert check(response)["code"] == "storage_unavailable", route.name
            assert int(response.headers["Retry-After"]) >= 1
            assert response.status_code in route.codes


def test_a_request_id_that_could_break_a_log_line_is_replaced(bench):
    for wrong in ("a b", "x" * 65, 'a"b', "a\tb", "ä"):
        response = bench.ask("GET", "/livez", None, headers={"X-Request-Id": wrong.encode()})
        assert response.headers["X-Request-Id"] != wrong
        assert len(response.headers["X-Request-Id"]) == 32
