"""Arbitrary JSON in every field of every route: never a 5xx, and always a documented answer.

``FUZZ_CASES=10000 pytest tests/badinput/test_fuzz.py`` tries more than the default of each route.
"""

import os
import time

import msgpack
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.gateway_app import lessons, person
from tests.support.openapi_routes import routes

CASES = int(os.environ.get("FUZZ_CASES", "60"))
SECONDS = 5.0
GOOD = {
    "/predict": person(frames=4),
    "/predict/batch": {"clips": [person(frames=4)], "top_k": 2},
    "/predict/segments": person(frames=8, window=1, stride=0.5),
    "/tenants/{tenant}/tune": {"clips": lessons(1), "options": {"dry_run": True}},
    "/tenants/{tenant}/clips": {"clips": lessons(1)},
    "/tenants/{tenant}/feedback": {"clip": person(frames=4), "label": "wave"},
    "/tenants/{tenant}/keys": {"scopes": ["predict"]},
}
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def places(value, path=()):
    """Paths to everything in a document, down to a few levels."""
    yield path
    if len(path) < 5:
        items = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
        for key, item in items:
            yield from places(item, (*path, key))


def replaced(value, path, new):
    """A document with one thing in it replaced."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


@pytest.mark.slow
@pytest.mark.parametrize("path", GOOD)
def test_no_value_in_any_field_is_a_server_error_or_takes_long(bench, path):
    tenant = "fuzzed"
    if bench.ask("GET", f"/tenants/{tenant}").status_code == 404:
        bench.tenant(tenant)
        bench.teach(tenant)
    key = bench.key(tenant, "predict", "tune", "manage")
    good = GOOD[path]
    [route] = [route for route in routes(bench.app.openapi()) if route.path == path and route.method == "POST"]
    kinds = route.operation["requestBody"]["content"]
    fields = st.sampled_from(sorted(places(good), key=str)) | st.tuples(TEXTS)

    @settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(fields, VALUES, st.booleans())
    def fuzz(field, value, packed):
        if len(field) == 1 and field[0] not in good:
            document = good | {field[0]: value}
        else:
            document = replaced(good, field, value)
        packed = packed and "application/msgpack" in kinds
        body = msgpack.packb(document) if packed else orjson.dumps(document)
        headers = {"Content-Type": "application/msgpack" if packed else "application/json"}
        began = time.monotonic()
        response = bench.ask("POST", route.address(tenant=tenant), key, content=body, headers=headers)
        assert time.monotonic() - began < SECONDS
        assert response.status_code in route.codes or response.status_code in route.successes, response.text
        assert response.status_code < 500, response.text

    fuzz()
