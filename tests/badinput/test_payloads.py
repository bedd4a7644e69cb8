"""Each bad payload is refused with its status, code and place, in bounded time and memory, and harms nobody."""

import time
import tracemalloc

import pytest

from tests.badinput.payloads import ALL, CODES
from tests.contract.test_error_shape import check
from tests.support.gateway_app import person

SECONDS = 5.0  # the slowest takes a fifth of a second alone; a quadratic reader took half a minute
BYTES_PER_BYTE = 40  # of the body as sent or, compressed, of the largest that is unpacked
FREE_BYTES = 16 << 20
LARGEST_UNPACKED = 8 << 20


@pytest.fixture(scope="module")
def tenant(bench):
    name = "payloads"
    key = bench.tenant(name)
    bench.teach(name)
    return name, key


def test_there_are_enough_of_them_for_every_route():
    assert len(ALL) >= 150
    assert len({payload.name for payload in ALL}) == len(ALL)
    assert len({payload.path for payload in ALL}) >= 7


@pytest.mark.parametrize("payload", ALL, ids=lambda payload: payload.name)
def test_a_bad_payload_costs_little_and_is_refused_by_its_place(bench, tenant, payload):
    name, key = tenant
    path = payload.path.format(tenant=name)
    began = time.monotonic()
    response = bench.ask("POST", path, key, content=payload.body, headers=payload.headers)
    assert time.monotonic() - began < SECONDS
    assert response.status_code == payload.status, response.text
    problem = check(response)
    assert problem["code"] in CODES[payload.status]
    said = " ".join([problem["detail"], *(f"{row['loc']} {row['message']}" for row in problem["errors"])])
    assert payload.place in said
    assert len(response.content) < 50_000
    assert bench.ask("POST", "/predict", key, json=person()).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("payload", ALL, ids=lambda payload: payload.name)
def test_a_bad_payload_takes_memory_in_proportion_to_its_size(bench, tenant, payload):
    name, key = tenant
    size = LARGEST_UNPACKED if "Content-Encoding" in payload.headers else len(payload.body)
    tracemalloc.start()
    try:
        bench.ask("POST", payload.path.format(tenant=name), key, content=payload.body, headers=payload.headers)
        assert tracemalloc.get_traced_memory()[1] < FREE_BYTES + BYTES_PER_BYTE * size
    finally:
        tracemalloc.stop()
