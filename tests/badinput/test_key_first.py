"""Nothing of a body is decoded or unpacked before the key is known to be valid."""

import gzip

import pytest

from service.gateway.http import request_body
from tests.support.gateway_app import person
from tests.support.openapi_routes import routes

DEEP = b"[" * 17 + b'"' + b'\\"' * 16_000
NILS = gzip.compress(b"\xdd\x00\x7a\x12\x00" + b"\xc0" * 8_000_000)
BODIES = {
    "json": (DEEP, {}),
    "gzip": (gzip.compress(DEEP), {"Content-Encoding": "gzip"}),
    "msgpack": (NILS, {"Content-Encoding": "gzip", "Content-Type": "application/msgpack"}),
    "lines": (gzip.compress(b"\n" * 1_000_000), {"Content-Encoding": "gzip", "Content-Type": "application/x-ndjson"}),
}


@pytest.fixture
def tenant_keys(bench, acme):
    """A tenant with a key that only tunes and one that only predicts."""
    return acme[0], bench.key(acme[0], "tune"), bench.key(acme[0], "predict")


@pytest.fixture
def undecoded(tenant_keys, monkeypatch):
    """Makes every reader of bodies fail, once the tenant is there."""

    def fail(*args, **kwargs):
        pytest.fail("a body was decoded")

    for name in ("_GzipDecoder", "scan", "decode_msgpack", "decode", "decode_clip"):
        monkeypatch.setattr(request_body, name, fail)


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("key", [None, "wrong", f"sp_{'0' * 23}_{'A' * 43}"])
@pytest.mark.usefixtures("undecoded")
def test_no_route_decodes_the_body_of_a_caller_without_a_valid_key(bench, body, key):
    content, headers = BODIES[body]
    for route in routes(bench.app.openapi()):
        if "requestBody" in route.operation:
            response = bench.ask("POST", route.address(tenant="acme"), key, content=content, headers=headers)
            assert response.status_code == 401, route.name


@pytest.mark.usefixtures("undecoded")
def test_no_route_decodes_the_body_of_a_key_without_the_scope(bench, tenant_keys):
    tenant, tuning, predicting = tenant_keys
    content, headers = BODIES["gzip"]
    for route in routes(bench.app.openapi()):
        if "requestBody" in route.operation:
            key = tuning if route.path.startswith("/predict") else predicting
            response = bench.ask("POST", route.address(tenant=tenant), key, content=content, headers=headers)
            assert response.status_code == 403, route.name


def test_a_version_is_found_by_a_key_that_has_no_active_prompt(bench, acme):
    tenant, key = acme
    version = bench.teach(tenant, activate=False)
    assert bench.ask("POST", "/predict", key, json=person()).json()["code"] == "no_active_prompt"
    assert bench.ask("POST", "/predict", key, json=person(version=version)).status_code == 200
    assert bench.ask("POST", "/predict", key, json=person(version=99)).json()["code"] == "version_not_found"
    assert bench.ask("POST", "/predict", key, json=person(tenant="another")).status_code == 404
    # What is wrong with a body comes first, as for any other tenant.
    assert bench.ask("POST", "/predict", key, content=b"{").status_code == 400
