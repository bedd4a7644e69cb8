"""SQL: tables, connections, migrations and dialects."""
