"""The same tables and queries on both databases."""

import pytest
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateTable

from service.storage.sql.tables import jobs, metadata


@pytest.mark.parametrize("dialect", [postgresql.dialect(), sqlite.dialect()], ids=["postgresql", "sqlite"])
@pytest.mark.parametrize("table", metadata.sorted_tables, ids=lambda table: table.name)
def test_every_table_can_be_made_on_both_databases(table, dialect):
    assert f"CREATE TABLE {table.name}" in str(CreateTable(table).compile(dialect=dialect))


def test_rows_are_locked_where_more_than_one_can_write(mine):
    query = mine._scope.select_for_update(jobs)
    assert str(query.compile(dialect=postgresql.dialect())).endswith("FOR UPDATE")
    assert "FOR UPDATE" not in str(query.compile(dialect=sqlite.dialect()))


def test_a_query_of_a_repository_is_about_its_tenant_alone(mine):
    query = mine._scope.select(jobs, jobs.c.id == "x").compile()
    assert "jobs.tenant = :tenant_1 AND jobs.id" in str(query)
    assert query.params["tenant_1"] == mine.tenant
