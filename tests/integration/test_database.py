import asyncio
from decimal import Decimal

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.errors import StorageError
from cashup.storage.database import check_safety, create_engine, transaction
from cashup.types import Mode


async def _table(database: AsyncEngine) -> None:
    async with transaction(database) as connection:
        await connection.execute(text("CREATE TABLE thing (id int PRIMARY KEY, money numeric, doc jsonb)"))


async def _count(database: AsyncEngine) -> int:
    async with transaction(database) as connection:
        return int((await connection.execute(text("SELECT count(*) FROM thing"))).scalar_one())


async def _backend(database: AsyncEngine) -> int:
    async with transaction(database) as connection:
        return int((await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one())


async def test_a_transaction_commits_and_rolls_back(database: AsyncEngine) -> None:
    await _table(database)
    async with transaction(database) as connection:
        await connection.execute(text("INSERT INTO thing VALUES (1, 0.1, '{}')"))
    with pytest.raises(IntegrityError):
        async with transaction(database) as connection:
            await connection.execute(text("INSERT INTO thing VALUES (2, 0.1, '{}'), (1, 0.1, '{}')"))
    assert await _count(database) == 1
    async with transaction(database) as connection:
        assert (await connection.execute(text("SELECT money FROM thing"))).scalar_one() == Decimal("0.1")


async def test_a_cancelled_transaction_leaves_nothing_behind_in_the_pool(database_url: str) -> None:
    database = create_engine(database_url, pool_size=1)
    await _table(database)
    inside = asyncio.Event()
    used = await _backend(database)

    async def work() -> None:
        async with transaction(database) as connection:
            await connection.execute(text("INSERT INTO thing VALUES (1, 0.1, '{}')"))
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert database.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert await _count(database) == 0
    assert await _backend(database) != used, "its connection must not be used again"
    await database.dispose()


async def test_a_commit_is_carried_through_a_cancellation(database: AsyncEngine) -> None:
    await _table(database)
    async with transaction(database) as connection:
        await connection.execute(
            text(
                "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END $$"
            )
        )
        await connection.execute(
            text(
                "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON thing DEFERRABLE INITIALLY DEFERRED "
                "FOR EACH ROW EXECUTE FUNCTION dawdle()"
            )
        )
    committing = asyncio.Event()

    async def work() -> None:
        async with transaction(database) as connection:
            await connection.execute(text("INSERT INTO thing VALUES (1, 0.1, '{}')"))
            asyncio.get_running_loop().call_soon(committing.set)

    task = asyncio.create_task(work())
    await committing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await _count(database) == 1


@pytest.mark.parametrize("mode", [Mode.PAPER, Mode.SANDBOX, Mode.LIVE])
async def test_a_database_that_forgets_commits_is_refused(database: AsyncEngine, mode: Mode) -> None:
    async with transaction(database) as connection:
        await check_safety(connection, mode)
        await connection.execute(text("SET synchronous_commit = off"))
        with pytest.raises(StorageError, match="synchronous_commit off"):
            await check_safety(connection, mode)
        await check_safety(connection, Mode.BACKTEST)


async def test_redis_answers(redis: Redis) -> None:
    assert await redis.ping()
    assert await redis.dbsize() == 0
