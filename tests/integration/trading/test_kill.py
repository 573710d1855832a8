"""kill -9 of the engine's process at the worst moments: afterwards each order is on the venue once and booked."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.exchanges.rules import gate_market
from cashup.simulator.accounts import Account
from cashup.simulator.server import Simulator
from cashup.simulator.tape import Tape
from cashup.simulator.venue import Venue
from cashup.strategies.bars import Bars
from tests.faults.checker import Checker
from tests.faults.proxy import DOWN, Proxy
from tests.faults.venue_book import VenueBook, simulator_book
from tests.integration.trading.conftest import BTC, ETH, Prices, deploy, until

ROOT = Path(__file__).parents[3]
START = 1_735_689_600_000
KILLED = -9

pytestmark = pytest.mark.slow


@dataclass
class Stage:
    """A simulated venue with an account, the way to it, and a database with a deployment."""

    database: AsyncEngine
    database_url: str
    simulator: Simulator
    account: Account
    proxy: Proxy

    async def run(self, *, die: tuple[str, str] | None = None) -> asyncio.subprocess.Process:
        """Start an engine process."""
        given = {"database": self.database_url, "venue": self.proxy.url, "die": die}
        given |= {"key": self.account.key, "secret": self.account.secret}
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.integration.trading.child", json.dumps(given), cwd=ROOT
        )

    async def check(self) -> None:
        """One order per side and symbol that was asked for, and every invariant holds."""
        placed = [(order.match.side, order.pair) for order in self.simulator.venue.orders.values()]
        assert placed == [("buy", "BTC_USDT"), ("sell", "BTC_USDT"), ("buy", "ETH_USDT")]
        checker = Checker(self.database, "main", self.book, secrets=[self.account.key, self.account.secret])
        assert await checker.check_at_rest() == []

    async def book(self) -> VenueBook:
        """What the simulator holds of the account."""
        return simulator_book(self.simulator.control.book({}), "main", self.simulator.limits.violations)


def bars() -> Bars:
    """Hours in which nothing moves."""
    prices = np.array([[float(price) for price in Prices().prices.values()]] * 5)
    values = np.stack([prices, prices, prices, prices, np.ones_like(prices)])
    return Bars(START + 3_600_000 * np.arange(-2, 3), [BTC, ETH], "1h", values)


@pytest.fixture
async def stage(database: AsyncEngine, database_url: str) -> AsyncIterator[Stage]:
    venue = Venue(Tape(bars()), {BTC: gate_market(BTC), ETH: gate_market(ETH)}, start=START)
    simulator = Simulator(venue)
    await simulator.start()
    account = venue.accounts.create("main", {"USDT": Decimal(25_000)})
    proxy = Proxy(simulator.port)
    await proxy.start()
    await deploy(database)
    yield Stage(database, database_url, simulator, account, proxy)
    await proxy.stop()
    await simulator.stop()


async def ends(process: asyncio.subprocess.Process) -> int:
    async with asyncio.timeout(90):
        return await process.wait()


async def test_nobody_dies(stage: Stage) -> None:
    assert await ends(await stage.run()) == 0
    await stage.check()


@pytest.mark.parametrize("moment", ["claimed", "answered"])
@pytest.mark.parametrize("side", ["sell", "buy"])
async def test_around_the_write(stage: Stage, moment: str, side: str) -> None:
    assert await ends(await stage.run(die=(moment, side))) == KILLED
    assert await ends(await stage.run()) == 0
    await stage.check()


@pytest.mark.parametrize("order", [2, 3])
async def test_written_but_not_answered(stage: Stage, order: int) -> None:
    stage.proxy.when(lambda link, data: link.mute(DOWN), what=b"POST /api/v4/spot/orders", nth=order)
    process = await stage.run()
    async with asyncio.timeout(60):
        await stage.proxy.swallowed.wait()
    process.kill()
    await ends(process)
    assert await ends(await stage.run()) == 0
    await stage.check()


async def test_committed_but_not_claimed(stage: Stage) -> None:
    """The database keeps the claim of the sell waiting and then undoes it, as if it had never been asked."""
    await execute(
        stage.database,
        """
        CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_sleep(5); RAISE EXCEPTION 'undone'; END $$
        """,
        """
        CREATE TRIGGER hold BEFORE UPDATE ON orders FOR EACH ROW
        WHEN (NEW.state = 'sending' AND NEW.side = 'sell') EXECUTE FUNCTION hold()
        """,
    )
    process = await stage.run()

    async def waits() -> object:
        async with stage.database.connect() as connection:
            query = "SELECT 1 FROM orders WHERE side = 'sell' AND state = 'pending_send'"
            return (await connection.execute(text(query))).first()

    await until(waits)
    process.kill()
    await ends(process)
    await execute(
        stage.database,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'",
        "DROP TRIGGER hold ON orders",
    )
    assert await ends(await stage.run()) == 0
    await stage.check()


async def execute(database: AsyncEngine, *statements: str) -> None:
    for statement in statements:
        async with database.begin() as connection:
            await connection.execute(text(statement))
