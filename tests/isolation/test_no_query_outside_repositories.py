"""Walks the syntax tree: no SQL is built outside the repositories, and none inside them without its tenant."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("service", "training", "skeleton_prompt")
STORAGE = ROOT / "service" / "storage"
REPOSITORIES = STORAGE / "repositories"
OF_A_TENANT = (
    "keys.py",
    "clips.py",
    "jobs.py",
    "job_leases.py",
    "prompts.py",
    "backbone_upgrades.py",
    "usage.py",
    "quotas.py",
)
DATABASES = {"sqlalchemy", "sqlite3", "alembic", "psycopg", "psycopg2", "aiosqlite", "asyncpg"}
INNARDS = {"service.storage.sql.tables", "service.storage.sql.database"}
ERRORS = "sqlalchemy.exc"  # naming what may be raised is no query
BUILDERS = {"select", "update", "delete", "insert", "text"}
# What puts the tenant into a query: the scope's own queries, or its name in a condition or a row.
SCOPED = {"select", "select_for_update", "tenant", "_version"}
# (module, function): why it may look beyond one tenant.
EXCEPTIONS: dict[tuple[str, str], str] = {}


def sources(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*.py")) if "migrations" not in path.parts)


def foreign_sql(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Lines on which a module reaches past the repositories."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute) and node.attr in ("database", "_database", "_scope"):
            yield node.lineno, f".{node.attr}"
            continue
        else:
            continue
        for name in names:
            if (name.split(".")[0] in DATABASES and not name.startswith(ERRORS)) or name in INNARDS:
                yield node.lineno, name


def unscoped_queries(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Functions that build a query in which no tenant is named."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        called = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
        words = called | {node.attr for node in ast.walk(function) if isinstance(node, ast.Attribute)}
        words |= {
            node.value for node in ast.walk(function) if isinstance(node, ast.Constant) and node.value == "tenant"
        }
        words -= called & BUILDERS  # sqlalchemy's select names no tenant, the scope's does
        words |= {node.attr for node in ast.walk(function) if isinstance(node, ast.Attribute)}
        builds = called & BUILDERS or "exec_driver_sql" in words
        if builds and not words & SCOPED:
            yield function.name, function.lineno


def test_no_module_outside_the_repositories_builds_sql_or_reaches_for_the_database():
    found = [
        f"{path.relative_to(ROOT)}:{line} {what}"
        for package in PACKAGES
        for path in sources(ROOT / package)
        if STORAGE not in path.parents
        for line, what in foreign_sql(ast.parse(path.read_text()))
    ]
    assert found == []


@pytest.mark.parametrize("module", OF_A_TENANT)
def test_every_query_of_a_tenants_repository_names_the_tenant(module):
    tree = ast.parse((REPOSITORIES / module).read_text())
    found = [name for name, _ in unscoped_queries(tree) if (module, name) not in EXCEPTIONS]
    assert found == []


def test_only_the_known_modules_of_the_storage_build_queries():
    # A new module with queries has to be named above, or to be above tenants on purpose.
    above = {"tenants.py", "backbones.py", "watching.py", "scope.py", "database.py", "job_dispatch.py"}
    found = {
        path.name
        for path in sources(STORAGE)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        and node.module == "sqlalchemy"
        and {alias.name for alias in node.names} & BUILDERS
    }
    assert found <= above | set(OF_A_TENANT)


@pytest.mark.parametrize(
    "source",
    [
        "from sqlalchemy import select",
        "import sqlalchemy.orm",
        "import sqlite3",
        "from service.storage.sql.tables import clips",
        "from service.storage.sql import tables",
        "storage.database.engine.connect()",
        "repository._scope.select(table)",
    ],
)
def test_the_walk_finds_a_planted_query(source):
    assert list(foreign_sql(ast.parse(source)))


def test_the_walk_finds_a_planted_query_without_a_tenant():
    planted = "def leak(self):\n    return connection.execute(select(clips).where(clips.c.id == clip_id))"
    assert [name for name, _ in unscoped_queries(ast.parse(planted))] == ["leak"]
    sound = "def fine(self):\n    return select(clips).where(clips.c.tenant == self._scope.tenant)"
    assert list(unscoped_queries(ast.parse(sound))) == []
