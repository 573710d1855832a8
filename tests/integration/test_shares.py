"""Several gateways divide rate limits through Redis, and stay within them without it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import Redis

from cashup.clock import WallClock
from cashup.exchanges.shares import RedisShares
from cashup.monitoring.tasks import begin, end
from cashup.storage.redis import create_redis

Open = Callable[..., RedisShares]


@pytest.fixture
async def gateways(redis: Redis) -> AsyncIterator[Open]:
    """Opens the shares of one more gateway."""
    async with AsyncExitStack() as stack:

        def open_(name: str, client: Redis | None = None) -> RedisShares:
            shares = RedisShares(client or redis, name, WallClock())
            stack.push_async_callback(end, begin(name, shares.run()))
            return shares

        yield open_


async def part(shares: RedisShares, wanted: float) -> None:
    """Until the gateway has this part of the limit `key`."""
    async with asyncio.timeout(20):
        while shares.part("key") != wanted:
            await asyncio.sleep(0.01)


async def test_one_gateway_has_all_of_it_and_two_have_half(gateways: Open) -> None:
    first = gateways("one")
    assert first.part("key") == 0
    await part(first, 1)
    second = gateways("two")
    assert second.part("key") == 0
    await part(first, 1 / 2)
    assert second.part("key") == 0  # the newcomer waits until the first must have noticed
    await part(second, 1 / 2)
    assert first.part("other") == 0
    await asyncio.sleep(0.1)
    assert first.part("other") == 1  # another limit, of which nobody else has said anything


async def test_what_a_gateway_used_is_free_when_it_has_gone(redis: Redis, gateways: Open) -> None:
    leaving = RedisShares(redis, "one", WallClock())
    task = begin("one", leaving.run())
    await part(leaving, 1)
    staying = gateways("two")
    await part(staying, 1 / 2)
    await end(task)
    await part(staying, 1)


async def test_without_redis_a_gateway_takes_a_smaller_part(gateways: Open) -> None:
    nowhere = create_redis("redis://127.0.0.1:1")
    alone = gateways("one", nowhere)
    await part(alone, 1 / 2)
    await asyncio.sleep(2)  # it does not become smaller and smaller
    assert alone.part("key") == 1 / 2
    await nowhere.aclose()
