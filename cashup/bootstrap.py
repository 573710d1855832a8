"""The only place that wires the parts: what a gateway is made of, and in which order it comes up and goes down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

from asyncpg import PostgresError
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import Clock, WallClock
from cashup.errors import NotFound, Unavailable
from cashup.exchanges.base import Exchange
from cashup.exchanges.limiter import Limiter
from cashup.exchanges.shares import RedisShares
from cashup.markets.feed import Feed
from cashup.markets.seen_bars import SeenBars
from cashup.monitoring.lag import LoopLag
from cashup.monitoring.tasks import begin, end
from cashup.notifications.alerts import Alerts
from cashup.orders.lease import Holder
from cashup.paper.book import Book
from cashup.paper.exchange import LivePaper
from cashup.redaction import redact_text
from cashup.settings import Settings
from cashup.storage import schema
from cashup.storage.database import check_safety, create_engine
from cashup.storage.events import Events
from cashup.storage.outbox import Relay
from cashup.storage.redis import create_redis
from cashup.storage.servers import open_servers
from cashup.trading.deployments import Deployments
from cashup.trading.engine import Engine
from cashup.trading.halts import Halts, Scope, TradingState
from cashup.trading.kill import KillSwitch
from cashup.trading.prices import Prices
from cashup.trading.profit import MarkOf
from cashup.trading.risk_limits import RiskLimits
from cashup.trading.supervision import Supervision
from cashup.types import Mode, Symbol
from cashup.users.accounts import Account, Accounts
from cashup.users.passwords import Passwords
from cashup.users.people import Login, People
from cashup.users.throttle import LoginThrottle
from cashup.users.tokens import Tokens
from cashup.users.vault import Credentials, Vault

SHUT_OUT = "shut_out"
"""The code of the halt of a user who may not log in."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """The parts of one gateway process. `first_password` is the new admin's, when this start made one."""

    settings: Settings
    clock: Clock
    database: AsyncEngine
    redis: Redis
    tokens: Tokens
    people: People
    login: Login
    accounts: Accounts
    feed: Feed
    engine: Engine
    deployments: Deployments
    supervision: Supervision
    halts: Halts
    kills: KillSwitch
    risk_limits: RiskLimits
    alerts: Alerts
    relay: Relay
    events: Events
    lag: LoopLag
    first_password: str | None = None

    async def watch_price(self, deployment: str, symbol: Symbol) -> None:
        """See to it that `symbol` has a price on the deployment's venue: no order is checked without one.

        Raises NotFound, UsageError for a symbol that the venue does not have, Unavailable when the venue stays silent.
        """
        shown = await self.deployments.get(deployment)
        account = await self.accounts.get(shown["account"])
        await self.feed.watch(account.venue, [symbol], shown["timeframe"] or "1m")

    async def marks(self) -> MarkOf:
        """The newest price of a symbol on the venue of an account, by the account's name; None when there is none."""
        prices = {account.name: Prices(self.feed, account.venue) for account in await self.accounts.all()}
        return lambda account, symbol: prices[account].of(symbol) if account in prices else None


@asynccontextmanager
async def open_gateway(settings: Settings) -> AsyncIterator[Gateway]:
    """A running gateway; everything it started has ended when the block is left.

    Raises StorageError for a database that may forget what it confirmed, or whose schema is another version's, and
    Unavailable when database or Redis cannot be reached.
    """
    clock = WallClock()
    async with AsyncExitStack() as stack:
        servers = await asyncio.to_thread(open_servers, settings)
        stack.callback(servers.close)
        database = create_engine(servers.database_url, application="gateway")
        stack.push_async_callback(database.dispose)
        redis = create_redis(servers.redis_url)
        stack.push_async_callback(redis.aclose)
        await _check_stores(database, redis, ours=servers.ours)
        tokens = Tokens(settings.home_path, clock)
        people = People(database, Passwords(), clock)
        accounts = Accounts(database, Vault(settings.home_path), clock)
        shares = RedisShares(redis, Holder().name, clock)
        stack.push_async_callback(end, begin("rate limits", shares.run()))
        seen = SeenBars(database)
        stack.push_async_callback(end, begin("seen bars", seen.run()))
        venues = Venues(accounts, clock, database, redis, Limiter(clock, shares), seen)
        stack.push_async_callback(venues.close)
        events, lag = Events(database, redis), LoopLag()
        relay = Relay(database, redis, events)
        for name, work in (("relay", relay.run()), ("events", events.run()), ("lag", lag.run())):
            stack.push_async_callback(end, begin(name, work))
        engine = Engine(database, clock, venues.feed, venues.private, emitted=relay.wake)
        stack.push_async_callback(engine.stop)
        halts = Halts(database, clock, relay.wake)
        gateway = Gateway(
            settings=settings,
            clock=clock,
            database=database,
            redis=redis,
            tokens=tokens,
            people=people,
            login=Login(people, tokens, LoginThrottle(redis)),
            accounts=accounts,
            feed=venues.feed,
            engine=engine,
            deployments=Deployments(database, engine, tokens, clock, relay.wake),
            supervision=Supervision(database, clock),
            halts=halts,
            kills=KillSwitch(database, clock, halts, engine.sweep),
            risk_limits=RiskLimits(database, clock, halts),
            alerts=Alerts(database, clock, relay.wake),
            relay=relay,
            events=events,
            lag=lag,
            first_password=await people.ensure_admin(),
        )
        await engine.start()
        await gateway.deployments.absent()
        yield gateway


@dataclass(frozen=True, slots=True)
class Administration:
    """What whoever owns the home folder may do without logging in: it holds the keys anyway."""

    people: People
    login: Login
    halts: Halts

    async def shut_out(self, name: str, *, by: str) -> None:
        """End the sessions of a user and hold the orders of their deployments back. What rests stays. NotFound."""
        await self.people.get(name)
        reason = f"{name} is shut out; `cashup user disable --undo {name}` lets them in again"
        await self.halts.latch(Scope.USER, name, SHUT_OUT, TradingState.HALTED, reason, by=by)
        await self.people.set_disabled(name, True, by=by)

    async def let_in(self, name: str, *, by: str) -> None:
        """Let a user in again, and their orders pass."""
        await self.people.set_disabled(name, False, by=by)
        with suppress(NotFound):  # an admin may have lifted the halt before
            await self.halts.lift(Scope.USER, name, SHUT_OUT, by=by)


@asynccontextmanager
async def open_administration(settings: Settings) -> AsyncIterator[Administration]:
    """The users of the configured database, for the command line. Raises what `open_gateway` raises."""
    clock = WallClock()
    async with AsyncExitStack() as stack:
        servers = await asyncio.to_thread(open_servers, settings)
        stack.callback(servers.close)
        database = create_engine(servers.database_url, application="administration", pool_size=2)
        stack.push_async_callback(database.dispose)
        redis = create_redis(servers.redis_url)
        stack.push_async_callback(redis.aclose)
        await _check_stores(database, redis, ours=servers.ours)
        people = People(database, Passwords(), clock)
        login = Login(people, Tokens(settings.home_path, clock), LoginThrottle(redis))
        yield Administration(people, login, Halts(database, clock))


class Venues:
    """Connections to venues: one public side per venue with the feed of its bars, and one per account.

    An account with keys has the venue's private side; a paper account has a book, and the feed for its market.
    """

    def __init__(
        self,
        accounts: Accounts,
        clock: Clock,
        database: AsyncEngine,
        redis: Redis,
        limiter: Limiter,
        seen: SeenBars,
    ) -> None:
        self._accounts = accounts
        self._clock = clock
        self._database = database
        self._limiter = limiter
        self._public: dict[str, Exchange] = {}
        self._opening = asyncio.Lock()
        self.feed = Feed(self.public, redis, seen.add)

    async def public(self, venue: str) -> Exchange:
        """The public side of the venue with this key; NotFound when no account is on it."""
        async with self._opening:
            if venue not in self._public:
                account = next((one for one in await self._accounts.all() if one.venue == venue), None)
                if account is None:
                    raise NotFound(f"no account is on {venue}; create one with `cashup account create`")
                self._public[venue] = await asyncio.to_thread(open_exchange, account, None, self._clock, self._limiter)
            return self._public[venue]

    async def private(self, name: str) -> tuple[str, Exchange]:
        """The venue's key and a connection of its own for the account named `name`; the caller closes it."""
        account = await self._accounts.get(name)
        if account.terms is not None:
            book = Book(self._database, name, account.terms.balances)
            paper = LivePaper(name, account.venue, account.terms, book=book, feed=self.feed, clock=self._clock)
            return account.venue, paper
        credentials = await self._accounts.credentials(name)
        return account.venue, await asyncio.to_thread(open_exchange, account, credentials, self._clock, self._limiter)

    async def close(self) -> None:
        """End the feed and close every public side."""
        await self.feed.close()
        for exchange in self._public.values():
            await exchange.close()
        self._public.clear()


def open_exchange(
    account: Account, credentials: Credentials | None, clock: Clock, limiter: Limiter | None = None
) -> Exchange:
    """The adapter for the venue of `account`; without credentials its public side. Imports ccxt (a second).

    All that are opened for one process share its `limiter`.
    """
    from cashup.exchanges import gate

    keys = gate.Credentials(credentials.key, credentials.secret) if credentials is not None else None
    sandbox = account.mode is Mode.SANDBOX
    return gate.GateExchange(keys, base_url=account.base_url, sandbox=sandbox, clock=clock, limiter=limiter)


async def _check_stores(database: AsyncEngine, redis: Redis, *, ours: bool) -> None:
    try:
        async with database.connect() as connection:
            await check_safety(connection, Mode.LIVE)
    except (OSError, TimeoutError, SQLAlchemyError, PostgresError) as error:
        raise Unavailable(f"the database cannot be reached ({_short(error)}); check CASHUP_DATABASE_URL") from error
    try:
        await redis.ping()
    except (OSError, RedisError) as error:
        raise Unavailable(f"Redis cannot be reached ({_short(error)}); check CASHUP_REDIS_URL") from error
    await schema.prepare(database, ours=ours)


def _short(error: BaseException) -> str:
    """The first line of what a driver says, without the address it may repeat."""
    return redact_text(str(error).partition("\n")[0].rstrip(".") or type(error).__name__)
