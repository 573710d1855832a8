"""The outbox: numbers in the order of commits, and a relay that survives a lost Redis."""

from __future__ import annotations

import asyncio

import orjson
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.events import EventKind
from cashup.storage.database import transaction
from cashup.storage.outbox import Relay, emit, last_seq, read_events
from cashup.storage.redis import EVENTS


async def add(database: AsyncEngine, stream: str, number: int) -> int:
    async with transaction(database) as connection:
        return await emit(connection, stream, EventKind.ACCOUNT_CHANGED, {"number": number}, number)


async def test_a_number_that_was_seen_has_no_smaller_one_behind_it(database: AsyncEngine) -> None:
    """Many writers commit at once; a reader that only ever goes forward must see all of it."""
    seen: list[int] = []

    async def read() -> None:
        while len(seen) < 60:
            async with database.connect() as connection:
                seen.extend(event.seq for event in await read_events(connection, seen[-1] if seen else 0))

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(read())
        for writer in range(6):
            group.create_task(write(database, writer))
    assert seen == sorted(seen)
    assert len(set(seen)) == 60


async def test_numbers_are_handed_out_in_the_order_of_commits(database: AsyncEngine) -> None:
    """While one transaction has a number and is not committed, the next one waits for its own."""
    async with transaction(database) as connection:
        first = await emit(connection, "account:a", EventKind.ACCOUNT_CHANGED, {}, 0)
        second = asyncio.create_task(add(database, "account:b", 0))
        async with asyncio.timeout(30):
            while not second.done() and not await waiting(database):
                await asyncio.sleep(0.01)
        assert not second.done()
    assert await second > first


async def waiting(database: AsyncEngine) -> bool:
    async with database.connect() as connection:
        query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        return bool((await connection.execute(text(query))).scalar_one())


async def write(database: AsyncEngine, writer: int) -> None:
    for number in range(10):
        await add(database, f"account:{writer}", number)


async def test_streams_are_chosen_by_name_and_by_prefix(database: AsyncEngine) -> None:
    for stream in ("account:a", "account:a_b", "deployment:a", "account:aXb"):
        await add(database, stream, 0)

    async def streams(*wanted: str) -> list[str]:
        async with database.connect() as connection:
            return [event.stream for event in await read_events(connection, 0, wanted)]

    assert await streams("account:a") == ["account:a"]
    assert await streams("account:*") == ["account:a", "account:a_b", "account:aXb"]
    assert await streams("account:a_*") == ["account:a_b"]
    assert await streams("deployment:a", "account:a_b") == ["account:a_b", "deployment:a"]


async def relayed(redis: Redis, count: int) -> list[int]:
    """The numbers in Redis, once there are so many."""
    async with asyncio.timeout(30):
        while True:
            entries = await redis.xrange(EVENTS)
            if len(entries) >= count:
                return [orjson.loads(fields[b"event"])["seq"] for _, fields in entries]
            await asyncio.sleep(0.01)


async def test_the_relay_copies_everything_in_order(database: AsyncEngine, redis: Redis) -> None:
    before = [await add(database, "account:a", number) for number in range(3)]
    relay = Relay(database, redis)
    running = asyncio.create_task(relay.run())
    assert await relayed(redis, 3) == before
    after = await add(database, "account:a", 4)
    relay.wake()
    assert await relayed(redis, 4) == [*before, after]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_relay_that_starts_again_repeats_at_most_what_it_has_not_marked(
    database: AsyncEngine, redis: Redis
) -> None:
    numbers = [await add(database, "account:a", number) for number in range(3)]
    for _ in range(2):
        relay = Relay(database, redis)
        running = asyncio.create_task(relay.run())
        await relayed(redis, 3)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    found = await relayed(redis, 3)
    assert sorted(set(found)) == numbers
    async with database.connect() as connection:
        assert await last_seq(connection) == numbers[-1]
