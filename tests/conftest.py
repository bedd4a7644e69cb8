"""Fixtures for the tests that need the real service."""

from collections.abc import Iterator

import pytest

from tests.serving import Server, serving


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The real service, shared by all tests of a session: each makes its own tenants and breaks nothing."""
    with serving(tmp_path_factory.mktemp("service") / "data") as running:
        yield running
