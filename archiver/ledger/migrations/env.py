"""Alembic's entry: runs the revisions on the connection given by `migrations.upgrade`."""

from __future__ import annotations

from alembic import context

from archiver.ledger.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
