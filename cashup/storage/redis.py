"""Redis: wakes and fans out. All of it can be rebuilt from PostgreSQL or the venue and may vanish at any time."""

from __future__ import annotations

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

EVENTS = "cashup:events"
"""The stream of all events, as the outbox relay writes it: fields `seq` and `event`."""

EVENTS_MAXLEN = 100_000
BARS_MAXLEN = 5_000


def create_redis(url: str) -> Redis:
    """A client for `url` (`redis://…` or `unix:///path`) that speaks bytes. Close it with `await client.aclose()`."""
    return Redis.from_url(
        url,
        socket_connect_timeout=5,
        health_check_interval=30,
        retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=1), 3),
        retry_on_error=[RedisConnectionError, RedisTimeoutError],
    )


def bars_stream(venue: str, symbol: str, timeframe: str) -> str:
    """The stream on which a gateway publishes the closed candles of one symbol."""
    return f"cashup:bars:{venue}:{symbol}:{timeframe}"
