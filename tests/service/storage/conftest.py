"""One storage per kind of database for the tests of the repositories; each test makes its own tenants."""

from collections.abc import Iterator

import pytest

from service.storage.store import Storage, TenantRepository
from tests.conftest import ENGINES
from tests.support.storage_fixtures import storing, tenant_of


@pytest.fixture(scope="session", params=ENGINES)
def storage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, blob_settings: dict[str, str]
) -> Iterator[Storage]:
    url = None if request.param == "sqlite" else request.getfixturevalue("postgres").database()
    with storing(tmp_path_factory.mktemp("storage"), database_url=url, **blob_settings) as opened:
        yield opened


@pytest.fixture
def mine(storage: Storage) -> TenantRepository:
    return tenant_of(storage)


@pytest.fixture
def other(storage: Storage) -> TenantRepository:
    return tenant_of(storage)
