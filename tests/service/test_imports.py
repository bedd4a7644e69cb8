"""Each part loads what it works with and nothing else: libraries that it never calls are seconds of its start."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

DATABASES = ("sqlalchemy", "alembic", "psycopg")


@pytest.mark.parametrize(
    ("part", "unwanted"),
    [
        ("service.gateway.app", ("torch", "sklearn", "matplotlib", "training")),
        ("service.inference.local.worker_main", (*DATABASES, "fastapi", "redis", "matplotlib")),
        ("service.inference.torchserve.handler", (*DATABASES, "fastapi", "matplotlib")),
    ],
)
def test_a_part_of_the_service_loads_nothing_that_it_does_not_use(part, unwanted):
    code = f"import sys, {part}; print(*(name for name in {unwanted} if name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == []
