"""How often somebody may try a password: counted in Redis, so that every gateway counts together."""

from __future__ import annotations

import hashlib

from redis.asyncio import Redis

from cashup.errors import TooManyRequests

WINDOW_SECONDS = 300
PER_NAME = 10
"""Attempts for one user name from one address within the window."""
PER_ADDRESS = 50
"""Attempts from one address within the window, whatever the names."""


class LoginThrottle:
    """Counts attempts before they are judged, so that many at once count as many."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def enter(self, name: str, address: str) -> None:
        """Count one attempt; raises TooManyRequests when there were too many."""
        for key, limit in ((_key(name, address), PER_NAME), (_key("", address), PER_ADDRESS)):
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.set(key, 0, ex=WINDOW_SECONDS, nx=True)
                pipe.incr(key)
                pipe.ttl(key)
                _, count, seconds = await pipe.execute()
            if count > limit:
                raise TooManyRequests(f"too many attempts to log in; try again in {max(seconds, 1)} s")

    async def succeeded(self, name: str, address: str) -> None:
        """Forget the failures of `name` from `address`."""
        await self._redis.delete(_key(name, address))


def _key(name: str, address: str) -> str:
    return "cashup:login:" + hashlib.sha256(f"{name}\0{address}".encode()).hexdigest()[:32]
