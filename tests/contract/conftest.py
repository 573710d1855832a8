"""The venues that the contract is held against: the simulator over real sockets, paper in memory, and a paper account
with its book in PostgreSQL that lives on the simulator's public data.

All trade BTC/USDT by Gate's rules, stand at PRICES[0], and go to the next price with `advance`.
"""

from __future__ import annotations

import asyncio
import itertools
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from typing import Any

import aiohttp
import numpy as np
import pytest

from cashup.clock import WallClock
from cashup.exchanges.base import Exchange
from cashup.exchanges.gate import Credentials, GateExchange
from cashup.exchanges.paper import PaperExchange
from cashup.exchanges.paper_terms import PaperTerms
from cashup.exchanges.paper_venue import PaperVenue
from cashup.exchanges.rules import gate_market
from cashup.markets.feed import Channel, Feed
from cashup.paper.book import Book
from cashup.paper.exchange import LivePaper
from cashup.simulator.server import Simulator
from cashup.simulator.tape import Tape
from cashup.simulator.venue import Venue
from cashup.storage.database import create_engine
from cashup.storage.redis import create_redis
from cashup.strategies.bars import Bars
from cashup.types import Candle, OrderRequest, OrderType, Side, Symbol, TimeInForce
from tests.contract.gate_client import Client

BTC = Symbol("BTC/USDT")
START = 1_735_689_600_000
HOUR = 3_600_000
PRICES = [Decimal(price) for price in ("100", "90", "110", "100", "95", "105")]


class Bench(ABC):
    """One venue under test, and one account on it with 1000 USDT and 2 BTC."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)

    exchange: Exchange
    public: Exchange
    deposit: Mapping[str, Decimal] = {"USDT": Decimal(1000), "BTC": Decimal(2)}

    @abstractmethod
    async def advance(self) -> None:
        """Close the open bar and open the next one at the next price."""

    @abstractmethod
    async def close(self) -> None:
        """Close everything."""

    def client_id(self) -> str:
        """A client order id that was not used yet."""
        return f"t-{next(self._ids):026d}"

    def market(self, side: Side, amount: str, **changes: object) -> OrderRequest:
        """A market order; a buy in quote, a sell in base."""
        given = {"cost" if side is Side.BUY else "quantity": Decimal(amount)}
        return OrderRequest(self.client_id(), BTC, side, OrderType.MARKET, **given, **changes)

    def limit(
        self, side: Side, quantity: str, price: str, tif: TimeInForce = TimeInForce.GTC, **changes: object
    ) -> OrderRequest:
        """A limit order."""
        return OrderRequest(
            self.client_id(),
            BTC,
            side,
            OrderType.LIMIT,
            quantity=Decimal(quantity),
            price=Decimal(price),
            time_in_force=tif,
            **changes,
        )


def flat_bars() -> Bars:
    """One bar per price, in which nothing moves; two older ones are history."""
    prices = np.array([98.0, 99.0, *map(float, PRICES)])
    values = np.stack([prices, prices, prices, prices, np.ones(len(prices))]).reshape(5, len(prices), 1)
    return Bars(START + HOUR * np.arange(-2, len(PRICES)), [BTC], "1h", values)


class SimulatorBench(Bench):
    """Gate's adapter on real sockets, talking to the simulator."""

    def __init__(self, simulator: Simulator) -> None:
        super().__init__()
        self.simulator = simulator
        account = simulator.venue.accounts.create("contract", self.deposit)
        self.exchange = GateExchange(Credentials(account.key, account.secret), base_url=simulator.url)
        self.public = GateExchange(base_url=simulator.url)

    async def advance(self) -> None:
        self.simulator.control.step({})

    async def close(self) -> None:
        await self.exchange.close()
        await self.public.close()
        await self.simulator.stop()


class PaperBench(Bench):
    """The paper venue."""

    def __init__(self) -> None:
        super().__init__()
        self.venue = PaperVenue([gate_market(BTC)], WallClock())
        self.exchange = PaperExchange(self.venue, self.venue.open_account(self.deposit))
        self.public = PaperExchange(self.venue)
        self._bars = flat_bars()
        self._position = 2
        for index in range(2):
            self._publish(index, closed=True)
        self._publish(2, closed=False)

    def _publish(self, index: int, *, closed: bool) -> None:
        price = Decimal(repr(float(self._bars.values[0, index, 0])))
        time = int(self._bars.times[index])
        self.venue.publish(Candle(BTC, "1h", time, price, price, price, price, Decimal(closed), closed))

    async def advance(self) -> None:
        self._publish(self._position, closed=True)
        self._position += 1
        self._publish(self._position, closed=False)

    async def close(self) -> None:
        await self.exchange.close()


async def start_simulator(*, strict_text: bool = False, **options: object) -> Simulator:
    """A simulator in lockstep that stands at PRICES[0]."""
    venue = Venue(Tape(flat_bars()), {BTC: gate_market(BTC)}, start=START, strict_text=strict_text)
    simulator = Simulator(venue, **options)
    await simulator.start()
    return simulator


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """A simulator of this test's own."""
    running = await start_simulator()
    yield running
    await running.stop()


class LivePaperBench(Bench):
    """A paper account without delay and with endless liquidity, on the public data of a simulator."""

    exchange: LivePaper

    def __init__(self, simulator: Simulator, database_url: str, redis_url: str, **terms: Any) -> None:
        super().__init__()
        self.simulator = simulator
        self.public = GateExchange(base_url=simulator.url)
        self.engine = create_engine(database_url, application="paper")
        self.redis = create_redis(redis_url)
        self.feed = Feed(self._open, self.redis)
        given = {"balances": self.deposit, "timeframe": "1h", "latency": 0, "jitter": 0, "liquidity": None}
        self.terms = PaperTerms(**(given | terms))
        self.exchange = self.opened()

    def opened(self, name: str = "paper") -> LivePaper:
        """The account as another process would open it, or another account."""
        book = Book(self.engine, name, self.terms.balances)
        return LivePaper(name, "sim", self.terms, book=book, feed=self.feed, clock=WallClock())

    async def _open(self, venue: str) -> GateExchange:
        return self.public

    async def advance(self) -> None:
        self.simulator.control.step({})
        for channel in self.feed.channels():
            await until_at(channel, self.simulator.venue.candle(channel.symbol))
        await self.exchange.settle()

    async def close(self) -> None:
        await self.exchange.close()
        await self.feed.close()
        await self.public.close()
        await self.redis.aclose()
        await self.engine.dispose()
        await self.simulator.stop()


async def until_at(channel: Channel, candle: Candle) -> None:
    """Wait until the feed has heard of `candle`."""
    changed = asyncio.Event()
    channel.listeners.add(changed)
    async with asyncio.timeout(10):
        while channel.newest is None or (channel.newest.time, channel.newest.closed) != (candle.time, candle.closed):
            await changed.wait()
            changed.clear()
    channel.listeners.discard(changed)


@pytest.fixture(params=["simulator", "paper", "live paper"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which venue is under test."""
    return str(request.param)


@pytest.fixture
def stores(kind: str, request: pytest.FixtureRequest) -> tuple[str, str] | None:
    """Database and Redis, for the venue that needs them."""
    if kind != "live paper":
        return None
    return request.getfixturevalue("database_url"), request.getfixturevalue("redis_url")


@pytest.fixture
async def bench(kind: str, stores: tuple[str, str] | None) -> AsyncIterator[Bench]:
    """One venue under test."""
    made: Bench
    if stores is not None:
        made = LivePaperBench(await start_simulator(), *stores)
    else:
        made = SimulatorBench(await start_simulator()) if kind == "simulator" else PaperBench()
    yield made
    await made.close()


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[Client]:
    """A bare client of an account of its own, with 1000 USDT and 2 BTC."""
    account = simulator.venue.accounts.create("client", {"USDT": Decimal(1000), "BTC": Decimal(2)})
    async with aiohttp.ClientSession() as session:
        yield Client(simulator, session, account)
