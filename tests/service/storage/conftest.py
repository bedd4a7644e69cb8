"""One storage for the tests of the repositories; each test makes its own tenants."""

from collections.abc import Iterator

import pytest

from service.storage import Storage, TenantRepository
from tests.storing import storing, tenant_of


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    with storing(tmp_path_factory.mktemp("storage")) as opened:
        yield opened


@pytest.fixture
def mine(storage: Storage) -> TenantRepository:
    return tenant_of(storage)


@pytest.fixture
def other(storage: Storage) -> TenantRepository:
    return tenant_of(storage)
