"""Requests that are small and wrong in one field, and what they must not do."""

import orjson
import pytest

from tests.support.gateway_app import ADMIN, lessons, person
from tests.support.openapi_routes import routes

NAMES = [
    "a\x01b", "\x1b[31mred", "line\nbreak", "tab\tstop", " before", "after ", " ", "\u00a0", "a\u2028b", "a\u2029b",
    "\u202egnp.exe", "a\x7fb", "a\x85b",
]  # fmt: skip


def fields_of(document, schema):
    """The properties of a body, also those behind references."""
    found = schema
    if "$ref" in found:
        found = document["components"]["schemas"][found["$ref"].rsplit("/", 1)[1]]
    return found.get("properties", {})


def test_a_field_that_is_null_is_never_a_server_error(bench, taught):
    tenant, key = taught
    document = bench.app.openapi()
    good = {
        "/predict": person(),
        "/predict/batch": {"clips": [person()]},
        "/predict/segments": person(),
        "/tenants/{tenant}/tune": {"clips": lessons(), "options": {"dry_run": True}},
        "/tenants/{tenant}/clips": {"clips": lessons()},
        "/tenants/{tenant}/feedback": {"clip": person(), "label": "wave"},
        "/tenants/{tenant}/keys": {"scopes": ["predict"]},
        "/tenants": {"id": "nulls"},
    }
    asked = 0
    for route in routes(document):
        if "requestBody" not in route.operation:
            continue
        caller = ADMIN if route.path == "/tenants" else key
        schema = route.operation["requestBody"]["content"]["application/json"]["schema"]
        for name in fields_of(document, schema):
            body = good[route.path] | {name: None}
            response = bench.ask("POST", route.address(tenant=tenant), caller, json=body)
            assert response.status_code < 500, (route.name, name, response.text)
            asked += 1
        for wrong in ([], None, 5, "x"):
            response = bench.ask("POST", route.address(tenant=tenant), caller, content=orjson.dumps(wrong))
            assert 400 <= response.status_code < 500, (route.name, wrong)
    assert asked > 40


def test_feedback_with_a_null_request_id_is_told_what_is_missing(bench, acme):
    tenant, key = acme
    path = f"/tenants/{tenant}/feedback"
    response = bench.ask("POST", path, key, json={"request_id": None, "label": "a"})
    assert (response.status_code, response.json()["errors"][0]["rule"]) == (422, "clip_or_request_id")
    assert bench.ask("POST", path, key, json={"request_id": None, "clip": person(), "label": "a"}).status_code == 201
    assert bench.ask("POST", path, key, json={"request_id": "r", "clip": None, "label": "a"}).status_code == 404


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_that_a_terminal_would_not_show_is_refused(bench, acme, name):
    tenant, key = acme
    for field in ("label", "id", "group"):
        body = {"clips": [*lessons(), person(label="a") | {field: name}]}
        for path in ("tune", "clips"):
            response = bench.ask("POST", f"/tenants/{tenant}/{path}", key, json=body)
            assert response.status_code == 422, response.text
            (row,) = response.json()["errors"]
            assert row["loc"] == f"clips[4].{field}"
    segments = [{"label": name, "start": 0, "end": 0.5}]
    body = {"clips": [*lessons(), person(segments=segments)]}
    response = bench.ask("POST", f"/tenants/{tenant}/tune", key, json=body)
    assert response.json()["errors"][0]["loc"] == "clips[4].segments[0].label"
    response = bench.ask("POST", f"/tenants/{tenant}/feedback", key, json={"clip": person(), "label": name})
    assert response.status_code == 422
    assert bench.ask("POST", "/tenants", json={"id": "named", "name": name}).status_code == 422


def test_a_name_of_any_language_is_taken(bench, acme):
    tenant, key = acme
    names = ["jumping jack", "Kniebeuge – tief", "スクワット", "نیم‌خیز", "👩‍🚒 lifts", "a/b:c"]
    clips = [person(seed=n, label=name, id=name, group=name) for n, name in enumerate(names)]
    assert bench.ask("POST", f"/tenants/{tenant}/clips", key, json={"clips": clips}).status_code == 201


def test_a_key_cannot_grant_what_it_lacks(bench, acme):
    tenant, _ = acme
    managing = bench.key(tenant, "manage")
    path = f"/tenants/{tenant}/keys"
    for scopes in (["tune"], ["predict"], ["manage", "tune"]):
        response = bench.ask("POST", path, managing, json={"scopes": scopes})
        assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    assert bench.ask("POST", path, managing, json={"scopes": ["manage"]}).status_code == 201
    assert bench.ask("POST", path, managing).json()["scopes"] == ["manage"]
    assert bench.ask("POST", path, json={"scopes": ["tune"]}).status_code == 201, "the admin key may"


def test_a_correction_may_name_a_row_of_a_batch_or_a_timeline(bench, taught):
    tenant, key = taught
    path = f"/tenants/{tenant}/feedback"
    request_id = bench.ask("POST", "/predict/batch", key, json={"clips": [{}, person(), person(seed=1)]}).json()[
        "request_id"
    ]
    good = {"request_id": request_id, "label": "wave"}
    assert bench.ask("POST", path, key, json=good | {"row": 2}).status_code == 201
    assert bench.ask("POST", path, key, json=good | {"row": 0}).status_code == 404
    assert bench.ask("POST", path, key, json=good).status_code == 404
    assert bench.ask("POST", path, key, json=good | {"row": -1}).status_code == 422
    request_id = bench.ask("POST", "/predict/segments", key, json=person(frames=90)).json()["request_id"]
    assert bench.ask("POST", path, key, json={"request_id": request_id, "label": "wave"}).status_code == 201


def test_a_timeline_counts_as_one_prediction_and_a_failed_one_as_none(bench, taught):
    tenant, key = taught
    bench.ask("POST", "/predict/segments", key, json=person(frames=300))
    bench.ask("POST", "/predict/segments", key, json=person(frames=300, stride=99))
    bench.ask("POST", "/predict/batch", key, json={"clips": [person(), {}]})
    days = bench.ask("GET", f"/tenants/{tenant}/usage", key).json()["items"]
    assert sum(day["predictions"] for day in days) == 2
