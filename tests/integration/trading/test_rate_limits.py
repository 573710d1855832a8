"""Gate's rate limits through the whole order path: they are never exceeded, and a cancel never waits for an order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import WallClock
from cashup.trading.halts import Halts, Scope
from cashup.trading.kill import Kill, KillSwitch
from cashup.types import ResultClass
from tests.integration.trading.conftest import BTC, ETH, until
from tests.integration.trading.resting import leave_limits, states
from tests.integration.trading.simulated import Simulated, simulated


@pytest.fixture
async def desk(database: AsyncEngine) -> AsyncIterator[Simulated]:
    async with simulated(database) as desk:
        yield desk


async def with_orders(desk: Simulated, count: int, *symbols: object) -> list[str]:
    """An engine that finds so many orders to be sent, in each market."""
    await desk.engine.stop()
    ids = []
    for symbol in symbols or (BTC,):
        price, quantity = ("10000", "0.001") if symbol == BTC else ("1000", "0.01")
        ids += await leave_limits(desk.database, count, symbol, price=price, quantity=quantity)  # type: ignore[arg-type]
    await desk.restart()
    return ids


async def open_(desk: Simulated, count: int) -> None:
    async def look() -> bool:
        return list((await states(desk.database)).values()).count("open") == count

    await until(look, 60)


async def test_more_orders_than_the_venue_takes_in_a_second_wait_before_they_are_claimed(desk: Simulated) -> None:
    await with_orders(desk, 25, BTC, ETH)
    await open_(desk, 50)
    assert desk.simulator.limits.violations == 0
    waited = await desk.rows("SELECT max(claimed_at) - min(claimed_at) AS millis FROM orders")
    assert waited[0]["millis"] >= 2_000  # 25 orders at 10 a second in each market
    late = "SELECT 1 FROM orders WHERE claimed_at > send_before - 1500"
    assert await desk.rows(late) == []  # the fence begins with the claim


async def test_amendments_wait_before_they_are_claimed_too(desk: Simulated) -> None:
    """They share ten places a second with the orders of their market."""
    ids = await with_orders(desk, 25)
    await open_(desk, 25)
    for number, ident in enumerate(ids):
        await desk.amend(f"a{number}", ident, price="9000")
    for number in range(len(ids)):
        await desk.concluded(f"a{number}")
    claimed = "SELECT max(at) - min(at) AS millis, count(*) AS n FROM order_events WHERE event = 'amend_claimed'"
    (claims,) = await desk.rows(claimed)
    sent = [seen.effect for seen in desk.simulator.register.writes if seen.what == "amend"]
    assert (claims["n"], sent) == (25, [True] * 25)
    assert claims["millis"] >= 1_500  # three of the seconds in which the venue counts
    assert desk.simulator.limits.violations == 0


async def test_a_cancel_does_not_wait_for_orders_that_do(desk: Simulated) -> None:
    await with_orders(desk, 40)

    async def some() -> bool:
        return desk.resting() >= 10

    await until(some)
    order = next(iter(desk.simulator.venue.resting(desk.account)))
    answer = await desk.exchange.cancel(BTC, order.match.id)
    assert answer.result is ResultClass.ACCEPTED
    pending = list((await states(desk.database)).values()).count("pending_send")
    assert pending > 0
    assert desk.simulator.limits.violations == 0


async def test_a_kill_clears_a_hundred_orders_within_the_limits(desk: Simulated) -> None:
    await with_orders(desk, 50, BTC, ETH)
    await open_(desk, 100)
    switch = KillSwitch(desk.database, WallClock(), Halts(desk.database, WallClock()), desk.engine.sweep)
    await switch.kill(Kill(Scope.ALL), by="root")

    async def done() -> bool:
        return (await switch.all())[0]["accounts"][0]["state"] == "done"

    await until(done)
    assert desk.resting() == 0

    async def booked() -> bool:
        return set((await states(desk.database)).values()) == {"cancelled"}

    await until(booked)
    assert desk.simulator.limits.violations == 0
    await desk.check()


async def test_a_kill_that_flattens_on_the_simulator(desk: Simulated) -> None:
    await desk.submit(1, {BTC: 0.5, ETH: 0.25})
    await desk.processed(1)
    switch = KillSwitch(desk.database, WallClock(), Halts(desk.database, WallClock()), desk.engine.sweep)
    await switch.kill(Kill(Scope.DEPLOYMENT, "demo", flatten=True), by="ann")

    async def done() -> bool:
        return (await switch.all())[0]["accounts"][0]["state"] == "done"

    await until(done)
    left = await desk.rows("SELECT quantity FROM positions")
    assert all(row["quantity"] < Decimal("0.0002") for row in left)
    await desk.check()


async def test_a_whole_page_of_reads_stays_within_the_limits(desk: Simulated) -> None:
    """More reads of one endpoint than ten seconds allow: the last ones wait, while orders have limits of their own."""
    reads = [asyncio.create_task(desk.exchange.balances()) for _ in range(230)]
    await desk.submit(1, {BTC: 0.5})
    await desk.processed(1)
    assert not all(read.done() for read in reads)
    await asyncio.gather(*reads)
    assert desk.simulator.limits.violations == 0
