"""Alembic's entry: runs inside the transaction that ``Database.migrate`` opened."""

from alembic import context

from service.storage.sql.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()
