"""The only place that wires the parts: what a gateway is made of, and in which order it comes up and goes down."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import Clock, WallClock
from cashup.settings import Settings
from cashup.storage.database import create_engine
from cashup.storage.outbox import Relay
from cashup.storage.redis import create_redis
from cashup.storage.servers import open_servers
from cashup.users.accounts import Accounts
from cashup.users.passwords import Passwords
from cashup.users.people import Login, People
from cashup.users.throttle import LoginThrottle
from cashup.users.tokens import Tokens
from cashup.users.vault import Vault


@dataclass(frozen=True, slots=True)
class Gateway:
    """The parts of one gateway process."""

    settings: Settings
    clock: Clock
    database: AsyncEngine
    redis: Redis
    tokens: Tokens
    people: People
    login: Login
    accounts: Accounts
    relay: Relay


@asynccontextmanager
async def open_gateway(settings: Settings) -> AsyncIterator[Gateway]:
    """A running gateway; everything it started has ended when the block is left."""
    clock = WallClock()
    async with AsyncExitStack() as stack:
        servers = open_servers(settings)
        stack.callback(servers.close)
        database = create_engine(servers.database_url, application="gateway")
        stack.push_async_callback(database.dispose)
        redis = create_redis(servers.redis_url)
        stack.push_async_callback(redis.aclose)
        tokens = Tokens(settings.home_path, clock)
        people = People(database, Passwords(), clock)
        yield Gateway(
            settings=settings,
            clock=clock,
            database=database,
            redis=redis,
            tokens=tokens,
            people=people,
            login=Login(people, tokens, LoginThrottle(redis)),
            accounts=Accounts(database, Vault(settings.home_path), clock),
            relay=Relay(database, redis),
        )
