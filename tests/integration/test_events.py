import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.events import Event, EventKind
from cashup.monitoring.tasks import end
from cashup.storage.database import transaction
from cashup.storage.events import Events
from cashup.storage.outbox import Relay, emit, encode
from cashup.storage.redis import EVENTS


@pytest.fixture
async def relay(database: AsyncEngine, redis: Redis) -> AsyncIterator[Relay]:
    relay = Relay(database, redis)
    task = asyncio.create_task(relay.run())
    yield relay
    await end(task)


@pytest.fixture
async def events(database: AsyncEngine, redis: Redis) -> AsyncIterator[Events]:
    events = Events(database, redis)
    task = asyncio.create_task(events.run())
    yield events
    await end(task)


async def _emit(database: AsyncEngine, stream: str, number: int) -> int:
    async with transaction(database) as connection:
        return await emit(connection, stream, EventKind.BAR_PROCESSED, {"n": number}, at=number)


async def _take(found: AsyncIterator[Event], count: int) -> list[int]:
    return [(await anext(found)).data["n"] for _ in range(count)]


async def test_a_subscriber_gets_what_was_and_what_comes_in_order(
    database: AsyncEngine, relay: Relay, events: Events
) -> None:
    for number in range(5):
        await _emit(database, "deployment:demo", number)
    await _emit(database, "deployment:other", 99)
    found = events.subscribe(["deployment:demo"], after=0)
    assert await _take(found, 3) == [0, 1, 2]
    for number in range(5, 8):
        await _emit(database, "deployment:demo", number)
        relay.wake()
    async with asyncio.timeout(10):
        assert await _take(found, 5) == [3, 4, 5, 6, 7]


async def test_a_wiped_redis_loses_no_event(database: AsyncEngine, relay: Relay, events: Events, redis: Redis) -> None:
    first = await _emit(database, "account:a", 0)
    found = events.subscribe(["account:*"], after=first - 1)
    assert await _take(found, 1) == [0]
    async with asyncio.timeout(20):
        for number in range(1, 30):
            await _emit(database, "account:a", number)
            relay.wake()
            if number % 7 == 0:
                await redis.flushall()
        assert await _take(found, 29) == list(range(1, 30))


async def test_an_entry_whose_predecessor_is_missing_makes_it_read_the_database(
    database: AsyncEngine, events: Events, redis: Redis
) -> None:
    waiting = asyncio.ensure_future(_take(events.subscribe(["account:a"]), 3))
    while not events.listening:
        await asyncio.sleep(0.005)
    numbers = [await _emit(database, "account:a", number) for number in (1, 2, 3)]
    last = Event(numbers[-1], "account:a", EventKind.BAR_PROCESSED, 3, {"n": 3})
    await redis.xadd(EVENTS, {"seq": last.seq, "prev": numbers[-2], "event": encode(last)})
    async with asyncio.timeout(20):
        assert await waiting == [1, 2, 3]


async def test_without_a_relay_events_still_arrive(database: AsyncEngine, events: Events) -> None:
    first = await _emit(database, "account:a", 0)
    found = events.subscribe(["account:a"], after=first - 1)
    assert await _take(found, 1) == [0]
    await _emit(database, "account:a", 1)
    async with asyncio.timeout(20):
        assert await _take(found, 1) == [1]


class Stubborn:
    """Answers no pipeline, and loses the first cancellation while it does not."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    def pipeline(self, *_: object, **__: object) -> Any:
        return self

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    def xadd(self, *_: object, **__: object) -> Any: ...

    async def execute(self) -> None:
        self.asked.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


async def test_a_relay_ends_although_redis_loses_a_cancellation(database: AsyncEngine) -> None:
    redis: Any = Stubborn()
    relaying = asyncio.create_task(Relay(database, redis).run())
    await _emit(database, "account:a", 0)
    await redis.asked.wait()
    async with asyncio.timeout(20):
        await end(relaying)


async def test_the_relays_own_process_hears_it_without_redis(database: AsyncEngine, redis: Redis) -> None:
    events = Events(database, redis)
    relay = Relay(database, redis, events)
    listening = asyncio.create_task(events.run())
    relaying = asyncio.create_task(relay.run())
    try:
        first = await _emit(database, "account:a", 0)
        found = events.subscribe(["account:a"], after=first - 1)
        async with asyncio.timeout(20):
            assert await _take(found, 1) == [0]
            while (await redis.info("clients"))["blocked_clients"]:  # until the last read of the stream is over
                await asyncio.sleep(0.05)
            for number in range(1, 10):
                await _emit(database, "account:a", number)
                relay.wake()
            assert await _take(found, 9) == list(range(1, 10))
            assert (await redis.info("clients"))["blocked_clients"] == 0
            assert not relaying.done()
            await end(relaying)
            another = asyncio.create_task(Relay(database, redis).run())
            for number in range(10, 20):
                await _emit(database, "account:a", number)
            assert await _take(found, 10) == list(range(10, 20))
            await end(another)
    finally:
        await end(listening, relaying)
