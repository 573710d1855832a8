"""The venues that the contract is held against: the simulator over real sockets, and paper in memory.

Both trade BTC/USDT by Gate's rules, stand at PRICES[0], and go to the next price with `advance`.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal

import aiohttp
import numpy as np
import pytest

from cashup.clock import WallClock
from cashup.exchanges.base import Exchange
from cashup.exchanges.gate import Credentials, GateExchange
from cashup.exchanges.paper import PaperExchange
from cashup.exchanges.paper_venue import PaperVenue
from cashup.exchanges.rules import gate_market
from cashup.simulator.server import Simulator
from cashup.simulator.tape import Tape
from cashup.simulator.venue import Venue
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


@pytest.fixture(params=["simulator", "paper"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """One venue under test."""
    made = SimulatorBench(await start_simulator()) if request.param == "simulator" else PaperBench()
    yield made
    await made.close()


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[Client]:
    """A bare client of an account of its own, with 1000 USDT and 2 BTC."""
    account = simulator.venue.accounts.create("client", {"USDT": Decimal(1000), "BTC": Decimal(2)})
    async with aiohttp.ClientSession() as session:
        yield Client(simulator, session, account)
