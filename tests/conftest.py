"""Fixtures that tests in several folders share: the real service, and the gateway alone."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import structlog

from tests.support.s3_server import S3Server, s3_server
from tests.support.service_process import Server, serving

if TYPE_CHECKING:
    from tests.support.gateway_app import GatewayApp
    from tests.support.postgres_server import PostgresServer

pytest_plugins = ["pytester", "tests.support.selection"]

ENGINES = ("sqlite", "postgresql")


@pytest.fixture(scope="session", autouse=True)
def _loggers_are_not_kept() -> Iterator[None]:
    """Else a logger that one test has used would go on as that test had set it up, and others could not listen."""
    configure = structlog.configure
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structlog, "configure", lambda **given: configure(**given | {"cache_logger_on_first_use": False}))
        yield


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The real service, shared by all tests of a session: each makes its own tenants and breaks nothing."""
    with serving(tmp_path_factory.mktemp("service") / "data") as running:
        yield running


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL for the tests of a session; each test or module takes a database of its own."""
    from tests.support.postgres_server import postgres_server

    with postgres_server() as running:
        yield running


@pytest.fixture(params=ENGINES)
def database_url(request: pytest.FixtureRequest) -> str | None:
    """The setting for a fresh database of each kind; None is the SQLite file in the data folder."""
    return None if request.param == "sqlite" else request.getfixturevalue("postgres").emptied()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One S3 server for all tests that break nothing; each makes its own buckets."""
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as running:
        yield running


@pytest.fixture(scope="session")
def blob_settings(request: pytest.FixtureRequest) -> dict[str, str]:
    """Settings of where blobs are: a folder, unless a test is parametrised over ``BOTH_KINDS`` of stores."""
    if getattr(request, "param", "folder") == "folder":
        return {}
    server: S3Server = request.getfixturevalue("s3")
    bucket = f"shared-{uuid.uuid4().hex[:10]}"
    server.make_bucket(bucket)
    return {"blob_url": f"s3://{bucket}/of/tests", "s3_endpoint_url": server.url}


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayApp]:
    """One application for the tests of the gateway; each test makes its own tenants."""
    from tests.support.gateway_app import gateway

    with gateway(tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture
def acme(bench: GatewayApp) -> tuple[str, str]:
    """A tenant and its first key."""
    name = f"acme-{uuid.uuid4().hex[:10]}"
    return name, bench.tenant(name)


@pytest.fixture
def taught(bench: GatewayApp, acme: tuple[str, str]) -> tuple[str, str]:
    """A tenant with an active version, and its first key."""
    bench.teach(acme[0])
    return acme
