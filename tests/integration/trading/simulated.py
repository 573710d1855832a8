"""The simulator with one customer, an engine that trades for it through Gate's adapter, and what tests ask of both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import WallClock
from cashup.exchanges.base import Exchange
from cashup.exchanges.gate import Credentials, GateExchange
from cashup.exchanges.rules import gate_market
from cashup.orders.patience import Patience
from cashup.simulator.accounts import Account
from cashup.simulator.server import Simulator
from cashup.simulator.tape import Tape
from cashup.simulator.venue import Venue
from cashup.strategies.bars import Bars
from cashup.trading.engine import Engine
from tests.faults.venue_book import VenueBook, simulator_book
from tests.integration.trading.conftest import BTC, ETH, Desk, Prices, deploy, open_desk

START = 1_735_689_600_000
PATIENCE = Patience(fence=1_500, margin=200, apart=200, trades=20, retry=50)


@dataclass
class Simulated(Desk):
    """A desk on a simulated venue. `timeout` is in seconds, per request."""

    simulator: Simulator
    account: Account
    patience: Patience
    timeout: float

    async def book(self) -> VenueBook:
        """What the simulator holds of the account."""
        return simulator_book(self.simulator.control.book({}), "main", self.simulator.limits.violations)

    def resting(self) -> int:
        """How many orders rest at the venue."""
        return len(self.simulator.venue.resting(self.account))

    async def restart(self) -> None:
        """Another engine, with a connection of its own."""
        await self.engine.stop()
        self.exchange = connection(self.simulator, self.account, self.timeout)
        self.engine = Engine(self.database, WallClock(), self.marks, self._connect, patience=self.patience)
        await self.engine.start()

    async def _connect(self, account: str) -> tuple[str, Exchange]:
        return "gate", self.exchange


def connection(simulator: Simulator, account: Account, timeout: float) -> GateExchange:
    """The adapter with the customer's keys."""
    return GateExchange(Credentials(account.key, account.secret), base_url=simulator.url, timeout=timeout)


@asynccontextmanager
async def simulated(
    database: AsyncEngine, patience: Patience = PATIENCE, seconds: float = 10.0
) -> AsyncIterator[Simulated]:
    """A ready desk on a simulator in which nothing moves by itself; the adapter waits `seconds` for an answer."""
    prices = np.array([[float(price) for price in Prices().prices.values()]] * 5)
    values = np.stack([prices, prices, prices, prices, np.ones_like(prices)])
    bars = Bars(START + 3_600_000 * np.arange(-2, 3), [BTC, ETH], "1h", values)
    venue = Venue(Tape(bars), {BTC: gate_market(BTC), ETH: gate_market(ETH)}, start=START)
    simulator = Simulator(venue)
    await simulator.start()
    account = venue.accounts.create("main", {"USDT": Decimal(25_000), "BTC": Decimal(1)})
    await deploy(database)
    exchange = connection(simulator, account, seconds)
    desk = await open_desk(database, exchange, Prices(), patience=patience)
    held = Simulated(desk.database, exchange, desk.engine, desk.marks, simulator, account, patience, seconds)
    try:
        yield held
    finally:
        await held.engine.stop()
        await simulator.stop()
