"""Runs migrations on the connection that `storage.schema` hands over."""

from alembic import context

from cashup.storage import schema
from cashup.storage.database import metadata

schema.load()
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_type=True,
    compare_server_default=True,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
