"""An engine on real PostgreSQL, with a paper venue or any other exchange behind the port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import WallClock
from cashup.errors import ExchangeTransient
from cashup.exchanges.base import Exchange
from cashup.exchanges.paper import PaperExchange
from cashup.exchanges.paper_venue import PaperAccount, PaperVenue
from cashup.exchanges.rules import gate_market
from cashup.orders.patience import Patience
from cashup.storage.outbox import outbox
from cashup.trading.commands import By
from cashup.trading.engine import Engine
from cashup.trading.funding import Funding
from cashup.trading.intents import parse_request
from cashup.trading.requests import parse_amend, parse_cancel, parse_place
from cashup.trading.tables import deployments
from cashup.types import Symbol
from tests.faults.checker import Checker
from tests.faults.venue_book import VenueBook, exchange_book
from tests.integration.trading.faults import FaultyExchange

BTC, ETH = Symbol("BTC/USDT"), Symbol("ETH/USDT")
CAPITAL = Decimal(10_000)


@dataclass
class Prices:
    """Marks that a test sets."""

    prices: dict[Symbol, Decimal] = field(default_factory=lambda: {BTC: Decimal(50_000), ETH: Decimal(2_000)})

    def mark(self, venue: str, symbol: Symbol) -> Decimal:
        if symbol not in self.prices:
            raise ExchangeTransient(f"no price of {symbol} yet")
        return self.prices[symbol]

    def quoted(self, venue: str, symbol: Symbol) -> tuple[int | None, Decimal | None]:
        return None, None


@dataclass
class Desk:
    """One account `main` with one deployment `demo`, and what a test does with them."""

    database: AsyncEngine
    exchange: Exchange
    engine: Engine
    marks: Prices

    async def submit(
        self, bar: int, targets: dict[str, Any], *, key: str | None = None, fence: int = 1
    ) -> dict[str, Any]:
        request = parse_request(key or str(bar), bar, targets)
        return await self.engine.submit("demo", fence, request)

    async def place(self, key: str, *, fence: int | None = None, **body: Any) -> dict[str, Any]:
        return await self.engine.command("demo", parse_place(key, body), By("ann", fence))

    async def cancel(self, key: str, order: str) -> dict[str, Any]:
        return await self.engine.command("demo", parse_cancel(key, order), By("ann"))

    async def amend(self, key: str, order: str, **body: Any) -> dict[str, Any]:
        return await self.engine.command("demo", parse_amend(key, order, body), By("ann"))

    async def order(self, ident: str, *states: str) -> Any:
        """The row of an order, when it is in one of these states and its trades are booked."""

        async def look() -> Any:
            rows = await self.rows("SELECT * FROM orders WHERE client_order_id = :ident", ident=ident)
            known = rows[0]["reported"] <= rows[0]["traded"]
            return rows[0] if not states or (rows[0]["state"] in states and known) else None

        return await until(look)

    async def concluded(self, key: str) -> Any:
        """The row of an intent when it has finished."""

        async def look() -> Any:
            rows = await self.rows("SELECT * FROM intents WHERE key = :key AND finished_at IS NOT NULL", key=key)
            return rows[0] if rows else None

        return await until(look)

    async def restart(self) -> None:
        """Another engine takes over from the tables."""
        await self.engine.stop()

        async def connect(account: str) -> tuple[str, Exchange]:
            return "gate", self.exchange

        self.engine = Engine(self.database, WallClock(), self.marks, connect, patience=QUICK)
        await self.engine.start()

    async def processed(self, bar: int, deployment: str = "demo") -> dict[str, Any]:
        """The data of the bar's BAR_PROCESSED event, when it has happened."""
        query = select(outbox.c.data).where(
            outbox.c.kind == "bar_processed",
            outbox.c.stream == f"deployment:{deployment}",
            outbox.c.data["bar"].as_integer() == bar,
        )

        async def look() -> dict[str, Any] | None:
            async with self.database.connect() as connection:
                return (await connection.execute(query)).scalar_one_or_none()

        return await until(look)

    async def rows(self, statement: str, **values: Any) -> list[Any]:
        async with self.database.connect() as connection:
            return list((await connection.execute(text(statement), values)).mappings())

    async def check(self) -> None:
        """Every invariant holds, in the tables and against the venue, with nothing on its way."""
        await until(self.heard)
        assert await Checker(self.database, "main", self.book).check_at_rest() == []

    async def heard(self) -> bool:
        """Whether every frame that has come is acted upon: an answer may be ahead of the frame that says the same."""
        return not await self.rows("SELECT 1 FROM inbox WHERE NOT applied")

    async def book(self) -> VenueBook:
        """What the paper venue holds of the account."""
        return exchange_book(self.exchange)


async def until(look: Callable[[], Awaitable[Any]], seconds: float = 30) -> Any:
    """What `look` gives as soon as it gives something."""
    async with asyncio.timeout(seconds):
        while not (found := await look()):
            await asyncio.sleep(0.01)
    return found


async def deploy(database: AsyncEngine, name: str = "demo", account: str = "main", **limits: str) -> None:
    """A deployment whose first attempt runs."""
    row = {
        "name": name,
        "account": account,
        "owner": "ann",
        "spec": {"notebook": "sma.ipynb", "limits": limits},
        "capital": CAPITAL,
        "quote": "USDT",
        "desired": "running",
        "fence": 1,
        "created_at": 0,
        "updated_at": 0,
    }
    async with database.begin() as connection:
        await connection.execute(insert(deployments).values(row))


NO_SPEC: Mapping[str, Any] = {}

QUICK = Patience(fence=1_000, margin=100, apart=100, trades=20, retry=20)
"""The same waits as in trading, shorter."""


async def open_desk(
    database: AsyncEngine,
    exchange: Exchange,
    marks: Prices,
    spec: Mapping[str, Any] = NO_SPEC,
    patience: Patience = QUICK,
) -> Desk:
    """A started engine that trades through `exchange`, with the deployment's capital booked."""

    async def connect(account: str) -> tuple[str, Exchange]:
        return "gate", exchange

    engine = Engine(database, WallClock(), marks, connect, patience=patience)
    await engine.start()
    await engine.fund("main", Funding("demo", CAPITAL, "USDT", spec))
    return Desk(database, exchange, engine, marks)


@pytest.fixture
def marks() -> Prices:
    return Prices()


@pytest.fixture
def venue(marks: Prices) -> PaperVenue:
    venue = PaperVenue([gate_market(BTC), gate_market(ETH)], WallClock())
    for symbol, price in marks.prices.items():
        venue.move(symbol, price)
    return venue


@pytest.fixture
def paper_account(venue: PaperVenue) -> PaperAccount:
    return venue.open_account({"USDT": Decimal(25_000), "BTC": Decimal("0.5")})


@pytest.fixture
async def desk(
    database: AsyncEngine, venue: PaperVenue, paper_account: PaperAccount, marks: Prices
) -> AsyncIterator[Desk]:
    """A ready desk on a paper venue."""
    await deploy(database)
    desk = await open_desk(database, PaperExchange(venue, paper_account), marks)
    yield desk
    await desk.engine.stop()


@pytest.fixture
async def faulty(
    database: AsyncEngine, venue: PaperVenue, paper_account: PaperAccount, marks: Prices
) -> AsyncIterator[Desk]:
    """A ready desk on a paper venue behind a `FaultyExchange` that works until it is told otherwise."""
    await deploy(database)
    desk = await open_desk(database, FaultyExchange(PaperExchange(venue, paper_account)), marks)
    yield desk
    await desk.engine.stop()
