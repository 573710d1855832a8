"""The migrations lead to exactly the tables that the code declares."""

from __future__ import annotations

import asyncio

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.errors import StorageError
from cashup.storage import schema
from cashup.storage.database import create_engine, metadata


@pytest.fixture
async def empty(empty_database_url: str) -> AsyncEngine:
    """A database without any table."""
    return create_engine(empty_database_url)


async def test_the_migrated_schema_is_the_declared_one(empty: AsyncEngine) -> None:
    schema.load()
    assert await schema.upgrade(empty) == schema.head()

    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata))

    async with empty.connect() as connection:
        assert await connection.run_sync(differences) == []
    await empty.dispose()


async def test_two_processes_that_upgrade_at_once_do_it_once(empty: AsyncEngine) -> None:
    assert await asyncio.gather(schema.upgrade(empty), schema.upgrade(empty)) == [schema.head()] * 2
    await empty.dispose()


async def test_a_strange_database_is_not_touched_but_named(empty: AsyncEngine) -> None:
    with pytest.raises(StorageError, match="run `cashup db upgrade`"):
        await schema.prepare(empty, ours=False)
    async with empty.connect() as connection:
        found = await connection.execute(text("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"))
        assert found.scalar_one() == 0
    await schema.prepare(empty, ours=True)
    await schema.prepare(empty, ours=False)
    await empty.dispose()
