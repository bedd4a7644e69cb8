"""Every route, with one's own, another's and an absent id, with each kind of key: nobody learns of anybody else."""

import itertools

import pytest

from tests.support.gateway_app import ADMIN, lessons, person
from tests.support.openapi_routes import in_all_forms, routes

SAME = {"X-Request-Id": "the-same-request"}
BODY = {"clips": lessons(), "clip": person(), "label": "wave", "scopes": ["predict"], "id": "made"} | person()
# Beside the body: what may differ between two equal answers.
TIMES = {"server-timing", "date"}


@pytest.fixture(scope="module")
def every(bench):
    return list(in_all_forms(routes(bench.ask("GET", "/openapi.json", None).json())))


def test_forms_chosen_by_the_query_are_asked_for_too(every):
    assert any(route.query == "?format=onnx" for route in every)


@pytest.fixture(scope="module")
def tenants(bench):
    """Two tenants with a bit of everything; the ids of theirs, and keys of the first."""
    ids = {}
    keys = {}
    for name in ("mine", "theirs"):
        keys[name] = bench.tenant(f"{name}-leak")
        bench.teach(f"{name}-leak")
        bench.ask("POST", f"/tenants/{name}-leak/clips", json={"clips": lessons(shots=1)})
        repository = bench.storage.tenant(f"{name}-leak")
        ids[name] = {
            "tenant": f"{name}-leak",
            "clip": repository.list_clips(1).items[0].id,
            "job": repository.list_jobs(1).items[0].id,
            "version": "1",
            "key": repository.create_key(["predict"])[0].id,
        }
    # A second version that mine does not have.
    bench.teach("theirs-leak", activate=False)
    ids["theirs"]["version"] = "2"
    keys |= {scope: bench.key("mine-leak", scope) for scope in ("predict", "tune", "manage")}
    return ids, keys


def seen(response):
    """All that a client can see of an answer."""
    headers = sorted((name, value) for name, value in response.headers.items() if name not in TIMES)
    return response.status_code, headers, response.content


def ask(bench, route, secret, **ids):
    body = {"json": BODY} if "requestBody" in route.operation else {}
    return bench.ask(route.method, route.address(**ids), secret, headers=SAME, **body)


def test_another_tenant_and_none_at_all_look_alike_to_every_key(bench, every, tenants):
    ids, keys = tenants
    asked = 0
    for route, (kind, key) in itertools.product(every, keys.items()):
        if "{tenant}" not in route.path or kind == "theirs":
            continue
        theirs = ask(bench, route, key, **ids["theirs"])
        absent = ask(bench, route, key, **(ids["theirs"] | {"tenant": "nobody"}))
        nothing = ask(bench, route, key, tenant="nobody")
        assert theirs.status_code == 404, (route.name, kind)
        assert seen(theirs) == seen(absent) == seen(nothing), (route.name, kind)
        asked += 1
    assert asked > 60


def test_what_another_tenant_has_and_what_nobody_has_look_alike_below_ones_own(bench, every, tenants):
    ids, keys = tenants
    for route, kind in itertools.product(every, ("mine", "predict", "tune", "manage")):
        for name in ("clip", "job", "key", "version"):
            if "{tenant}" not in route.path or f"{{{name}}}" not in route.path:
                continue
            own = ids["mine"] | {name: ids["theirs"][name]}
            absent = ids["mine"] | {name: "4711" if name == "version" else ids["theirs"][name][:-1] + "0"}
            theirs, none = ask(bench, route, keys[kind], **own), ask(bench, route, keys[kind], **absent)
            assert theirs.status_code in (403, 404), (route.name, kind)
            assert seen(theirs) == seen(none), (route.name, kind)


def test_nothing_of_theirs_was_changed_or_shown(bench, every, tenants):
    ids, keys = tenants
    repository = bench.storage.tenant("theirs-leak")
    for name in ("theirs-leak", ids["theirs"]["clip"], ids["theirs"]["job"], ids["theirs"]["key"]):
        for route in every:
            if route.method != "GET" or "{" in route.path.replace("{tenant}", ""):
                continue
            response = bench.ask("GET", route.address(tenant="mine-leak"), keys["mine"])
            assert name not in response.text, route.name
    assert len(repository.list_clips().items) == 2
    assert len(repository.list_jobs().items) == 2
    assert [prompt.version for prompt in repository.list_prompts().items] == [2, 1]
    assert repository.active_prompt().version == 1
    assert len(repository.list_keys().items) == 2


def test_a_prediction_never_comes_from_another_tenants_prompt(bench, tenants):
    _, keys = tenants
    answers = [
        bench.ask("POST", "/predict", keys["mine"], json=person(tenant=name), headers=SAME)
        for name in ("theirs-leak", "nobody")
    ]
    assert answers[0].status_code == 404
    assert seen(answers[0]) == seen(answers[1])
    versions = [bench.ask("POST", "/predict", keys["mine"], json=person(version=v), headers=SAME) for v in (2, 4711)]
    assert versions[0].json()["code"] == "version_not_found"
    assert seen(versions[0]) == seen(versions[1])


def test_a_correction_cannot_name_another_tenants_request(bench, tenants):
    _, keys = tenants
    bench.ask("POST", "/predict", keys["theirs"], json=person(), headers={"X-Request-Id": "of-theirs"})
    answers = [
        bench.ask(
            "POST", "/tenants/mine-leak/feedback", keys["mine"], json={"request_id": name, "label": "x"}, headers=SAME
        )
        for name in ("of-theirs", "of-nobody")
    ]
    assert answers[0].status_code == 404
    assert seen(answers[0]) == seen(answers[1])


def test_an_idempotency_key_of_another_tenant_replays_nothing(bench, tenants):
    _, keys = tenants
    headers = {"Idempotency-Key": "shared-by-chance"}
    answers = [
        bench.ask("POST", f"/tenants/{name}-leak/clips", keys[name], json={"clips": lessons(shots=1)}, headers=headers)
        for name in ("theirs", "mine")
    ]
    assert not set(answers[0].json()["ids"]) & set(answers[1].json()["ids"])
    for answer, name in zip(answers, ("theirs", "mine"), strict=True):
        for clip in answer.json()["ids"]:
            bench.storage.tenant(f"{name}-leak").delete_clip(clip)


def test_only_the_admin_key_reaches_what_is_above_tenants(bench, every, tenants):
    _, keys = tenants
    above = [
        route
        for route in every
        if route.keyed and "{tenant}" not in route.path and not route.path.startswith("/predict")
    ]
    assert {route.name for route in above} >= {"GET /tenants", "POST /tenants", "GET /metrics"}
    for route, kind in itertools.product(above, ("mine", "predict", "tune", "manage")):
        response = ask(bench, route, keys[kind])
        assert (response.status_code, response.json()["code"]) == (403, "forbidden"), (route.name, kind)


def test_a_scope_is_needed_where_the_page_says_so(bench, every, tenants):
    for route in every:
        if "{tenant}" not in route.path or route.method == "GET":
            continue
        for scope in ("predict", "tune", "manage"):
            key = bench.key("mine-leak", scope)
            response = ask(bench, route, key, tenant="mine-leak", clip="absent", job="absent", key="absent")
            if response.status_code == 403:
                assert response.json()["code"] == "forbidden"
            else:
                assert scope != "predict", f"{route.name} changes something and must not be open to {scope}"
    assert bench.ask("GET", "/tenants/mine-leak", ADMIN).status_code == 200
