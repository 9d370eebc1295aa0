"""What Alembic runs: the migrations, over the connection and in the transaction that `store.schema` gives."""

from alembic import context

from msc_vision.service.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
