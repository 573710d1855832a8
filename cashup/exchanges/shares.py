"""The shares of several gateways in the same rate limits, agreed upon through Redis.

Every gateway says of each limit that it uses it, again and again, and gets an equal part. Whoever is first gets all of
it at once; whoever comes to others waits until they have noticed. So the way of an order never asks Redis anything.
Without Redis each gateway goes on with what it knew, as if one more had come meanwhile.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from cashup.clock import Clock
from cashup.types import Millis

log = structlog.get_logger()

_EVERY_SECONDS = 1.0
_GONE: Millis = 5_000
"""After this time without a word a gateway has no part any more."""
_NOTICED: Millis = 2_000
"""After this time everybody has noticed a newcomer."""

_JOIN = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[2] - ARGV[3])
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return redis.call('ZCARD', KEYS[1])
"""
"""KEYS[1] the limit; ARGV: who asks, his time (ms), and after how long a silence (ms) one is gone. Gives the number."""


@dataclass(slots=True)
class _Share:
    gateways: int = 0
    since: Millis = 0


class RedisShares:
    """The shares of the gateway named `name`. Run `run`; nothing is shared before it runs."""

    def __init__(self, redis: Redis, name: str, clock: Clock) -> None:
        self._join = redis.register_script(_JOIN)
        self._redis = redis
        self._name = name
        self._clock = clock
        self._shares: dict[str, _Share] = {}
        self._new = asyncio.Event()
        self._cut = False

    def part(self, key: str) -> float:
        """The part of this limit that the gateway may use; 0 until it is known."""
        share = self._shares.get(key)
        if share is None:
            self._shares[key] = _Share()
            self._new.set()
            return 0.0
        if share.gateways == 0 or self._clock.now() < share.since:
            return 0.0
        return 1 / share.gateways

    async def run(self) -> None:
        """Say what is used, and learn who else uses it, until cancelled; then give it all back."""
        try:
            while True:
                self._new.clear()
                await self._refresh()
                try:
                    async with asyncio.timeout(_EVERY_SECONDS):
                        await self._new.wait()
                except TimeoutError:
                    continue
        finally:
            await self._leave()

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(_EVERY_SECONDS):
                for key, share in list(self._shares.items()):
                    now = self._clock.now()
                    found = int(await self._join(keys=[_name(key)], args=[self._name, now, _GONE]))
                    if share.gateways == 0 and found > 1:
                        share.since = now + _NOTICED
                    share.gateways = found
        except (RedisError, OSError) as error:
            self._alone(str(error))
        else:
            if self._cut:
                self._cut = False
                log.warning("rate limits are shared again")

    def _alone(self, reason: str) -> None:
        """Redis does not answer: go on as if one more gateway had come, once."""
        if not self._cut:
            self._cut = True
            log.warning("rate limits are not shared: Redis does not answer; using a smaller part", reason=reason)
            for share in self._shares.values():
                share.gateways = max(share.gateways, 1) + 1
        for share in self._shares.values():
            share.gateways = share.gateways or 2

    async def _leave(self) -> None:
        try:
            for key in self._shares:
                await self._redis.zrem(_name(key), self._name)
        except (RedisError, OSError) as error:
            log.info("the shares of this gateway will run out by themselves", reason=str(error))


def _name(key: str) -> str:
    return f"cashup:limit:{key}"
