"""The migrations lead to exactly the tables that the code declares."""

from __future__ import annotations

import asyncio

import pytest
from alembic import command
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


async def test_an_account_that_traded_a_simulator_with_keys_is_a_sandbox_now(empty: AsyncEngine) -> None:
    """Paper accounts used to be that; since they have a book of their own they have no keys."""

    def to_before(connection: Connection) -> None:
        command.upgrade(schema.config(connection), "0005")

    async with empty.connect() as connection:
        await connection.run_sync(to_before)
        await connection.execute(
            text("INSERT INTO users (id, name, password, role, created_at) VALUES ('1', 'eva', 'x', 'trader', 0)")
        )
        await connection.execute(
            text(
                "INSERT INTO accounts (id, user_id, name, exchange, mode, base_url, fingerprint, version, kek, "
                "wrapped_key, sealed, created_at) VALUES ('1', '1', 'toy', 'gate', 'paper', 'http://127.0.0.1:1', 'f', "
                "1, 'k', 'w', 's', 0)"
            )
        )
        await connection.commit()
    await schema.upgrade(empty)
    async with empty.connect() as connection:
        account = (await connection.execute(text("SELECT mode, base_url, sealed, terms FROM accounts"))).one()
    assert tuple(account) == ("sandbox", "http://127.0.0.1:1", b"s", None)
    await empty.dispose()
