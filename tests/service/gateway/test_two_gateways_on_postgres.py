"""Two gateways on one PostgreSQL: what is asked of both happens once, and both outlive the database."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gateway_app import GatewayApp, gateway, lessons, person
from tests.support.postgres_server import PostgresServer


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[tuple[GatewayApp, GatewayApp]]:
    folder: Path = tmp_path_factory.mktemp("pair")
    shared = {"database_url": postgres.database(), "blob_url": str(folder / "blobs")}
    with gateway(folder / "one", **shared) as one, gateway(folder / "two", **shared) as two:
        yield one, two


def test_a_hundred_equal_tune_requests_over_two_gateways_make_one_job(pair):
    key = pair[0].tenant("hundred")
    body = {"clips": lessons(1), "seed": 1}
    headers = {"Idempotency-Key": "the same for all"}
    running = [
        asyncio.run_coroutine_threadsafe(
            bench.asking("POST", "/tenants/hundred/tune", key, json=body, headers=headers), bench.loop
        )
        for bench in pair * 50
    ]
    answers = [one.result(120) for one in running]
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["job"] for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    assert len(pair[1].ask("GET", "/tenants/hundred/jobs", key).json()["items"]) == 1


def test_what_one_gateway_does_the_other_knows_at_once(pair):
    one, two = pair
    key = one.tenant("shared")
    one.teach("shared")
    version = one.teach("shared")
    assert two.ask("POST", "/predict", key, json=person()).json()["version"] == version
    assert two.ask("POST", "/tenants/shared/prompts/rollback", key).status_code == 200
    assert one.ask("POST", "/predict", key, json=person()).json()["version"] != version


def test_while_the_database_is_away_gateways_say_when_to_come_back_and_find_it_by_themselves(pair, postgres):
    key = pair[0].tenant("patient")
    version = pair[0].teach("patient")
    postgres.stop()
    try:
        for bench in pair:
            for answer in (
                bench.ask("POST", "/predict", key, json=person()),
                bench.ask("POST", "/tenants/patient/tune", key, json={"clips": lessons(1)}),
                bench.ask("GET", "/tenants"),
            ):
                assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable"), answer.text
                assert int(answer.headers["Retry-After"]) >= 1
            assert bench.ask("GET", "/livez", None).status_code == 200
    finally:
        postgres.start()
    for bench in pair:
        assert bench.ask("POST", "/predict", key, json=person()).json()["version"] == version
