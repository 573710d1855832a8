"""The dead man's switch: kept alive while something rests, called off when nothing does, distrusted when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import WallClock
from cashup.exchanges.base import Exchange
from cashup.exchanges.paper import PaperExchange
from cashup.exchanges.paper_venue import PaperAccount, PaperVenue
from cashup.trading.countdown import REASON, is_work_of
from cashup.trading.engine import Engine
from cashup.trading.halts import Halts, Scope
from cashup.trading.kill import Kill, KillSwitch
from cashup.types import OrderReport, Side
from cashup.users.tables import accounts, users
from tests.integration.trading.conftest import BTC, QUICK, Desk, Prices, deploy, open_desk, until
from tests.integration.trading.faults import FaultyExchange
from tests.integration.trading.resting import leave_limits

PATIENCE = replace(QUICK, countdown=1, refresh=200)


@pytest.fixture
def exchange(venue: PaperVenue, paper_account: PaperAccount) -> FaultyExchange:
    return FaultyExchange(PaperExchange(venue, paper_account))


@pytest.fixture
async def desk(database: AsyncEngine, exchange: FaultyExchange, marks: Prices) -> AsyncIterator[Desk]:
    """A desk with three orders that rest, behind an exchange that can fail."""
    await deploy(database)
    desk = await open_desk(database, exchange, marks)
    await desk.engine.stop()
    await leave_limits(database, 3)
    await start(desk)

    async def resting() -> bool:
        return len(await exchange.open_orders()) == 3

    await until(resting)
    yield desk
    await desk.engine.stop()


async def start(desk: Desk) -> None:
    async def connect(account: str) -> tuple[str, Exchange]:
        return "gate", desk.exchange

    desk.engine = Engine(desk.database, WallClock(), desk.marks, connect, patience=PATIENCE)
    await desk.engine.start()


async def test_while_orders_rest_it_is_kept_alive_and_when_none_do_it_is_called_off(
    desk: Desk, paper_account: PaperAccount
) -> None:
    async def armed() -> bool:
        return paper_account.cancel_at is not None

    await until(armed)
    await asyncio.sleep(2)  # twice as long as it takes to go off
    assert len(await desk.exchange.open_orders()) == 3
    switch = KillSwitch(desk.database, WallClock(), Halts(desk.database, WallClock()), desk.engine.sweep)
    await switch.kill(Kill(Scope.ACCOUNT, "main"), by="ann")

    async def off() -> bool:
        return paper_account.cancel_at is None

    async def written_down() -> bool:
        return [row["due"] for row in await desk.rows("SELECT due FROM countdowns")] == [0]

    await until(off)
    await until(written_down)


async def test_a_gateway_that_dies_leaves_nothing_resting_and_the_next_one_says_why(
    desk: Desk, venue: PaperVenue, paper_account: PaperAccount
) -> None:
    async def armed() -> bool:
        return paper_account.cancel_at is not None

    await until(armed)
    await desk.engine.stop()  # with orders that rest it is not called off
    assert paper_account.cancel_at is not None

    async def gone() -> bool:
        return not await desk.exchange.open_orders()

    await until(gone)
    await start(desk)
    await desk.engine.ready("main")
    rows = await desk.rows("SELECT state, reason FROM orders")
    assert [tuple(row.values()) for row in rows] == [("cancelled", REASON)] * 3
    await desk.check()


async def test_each_account_has_a_figure_of_its_own(
    desk: Desk, database: AsyncEngine, paper_account: PaperAccount
) -> None:
    """Set while it is armed with the engine's second: a minute, and then none at all."""
    await insert_account(database, 60)

    async def in_a_minute() -> bool:
        return (paper_account.cancel_at or 0) > WallClock().now() + 50_000

    await until(in_a_minute)
    await desk.engine.stop()
    async with database.begin() as connection:
        await connection.exec_driver_sql("UPDATE accounts SET countdown = 0")
    await start(desk)
    await desk.engine.ready("main")

    async def off() -> bool:
        return paper_account.cancel_at is None

    await until(off)
    assert len(await desk.exchange.open_orders()) == 3


async def insert_account(database: AsyncEngine, countdown: int) -> None:
    person = {"id": "1", "name": "ann", "password": "-", "role": "trader", "created_at": 0}
    account = {"id": "1", "user_id": "1", "name": "main", "exchange": "gate", "mode": "paper", "fingerprint": ""}
    account |= {"terms": {}, "countdown": countdown, "created_at": 0}
    async with database.begin() as connection:
        await connection.execute(insert(users).values(person))
        await connection.execute(insert(accounts).values(account))


def test_only_a_cancellation_around_that_time_is_explained_by_it() -> None:
    due = 1_000_000
    report = OrderReport(None, "1", BTC, Side.BUY, filled=0, done=True, reason="cancelled", updated_at=due)  # type: ignore[arg-type]
    others = [
        replace(report, updated_at=due - 5_000),
        replace(report, updated_at=due + 5_000),
        replace(report, done=False),
        replace(report, reason="filled"),
    ]
    assert is_work_of(report, due)
    assert not any(is_work_of(other, due) for other in others)
    assert not is_work_of(report, 0)
