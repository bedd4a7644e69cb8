"""One application for the tests of the gateway; each test makes its own tenants."""

import uuid
from collections.abc import Iterator

import pytest

from tests.gateway import Bench, gateway


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with gateway(tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture
def acme(bench: Bench) -> tuple[str, str]:
    """A tenant and its first key."""
    name = f"acme-{uuid.uuid4().hex[:10]}"
    return name, bench.tenant(name)


@pytest.fixture
def taught(bench: Bench, acme: tuple[str, str]) -> tuple[str, str]:
    """A tenant with an active version, and its first key."""
    bench.teach(acme[0])
    return acme
