"""Limits at work: what holds for an account, what a loss latches, and what survives a restart."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import VirtualClock, WallClock, parse_time
from cashup.errors import NotFound, UsageError
from cashup.exchanges.paper import PaperExchange
from cashup.exchanges.paper_venue import PaperAccount, PaperVenue
from cashup.orders.journal import LeaseLost
from cashup.orders.lease import Holder, Lease
from cashup.strategies.limits import Limits
from cashup.trading.desks import Desks
from cashup.trading.flatten import flatten
from cashup.trading.funding import Funding
from cashup.trading.halts import Halts, Scope
from cashup.trading.loss_watch import Equity, LossWatch
from cashup.trading.risk import TradingState
from cashup.trading.risk_limits import RiskLimits
from tests.integration.trading.conftest import BTC, CAPITAL, Desk, Prices, deploy, open_desk, until
from tests.integration.trading.faults import FaultyExchange

D = Decimal


@pytest.fixture
def halts(database: AsyncEngine) -> Halts:
    return Halts(database, WallClock())


@pytest.fixture
def limits(database: AsyncEngine, halts: Halts) -> RiskLimits:
    return RiskLimits(database, WallClock(), halts)


async def refund(desk: Desk, spec: dict[str, Any], name: str = "demo") -> None:
    await desk.engine.fund("main", Funding(name, CAPITAL, "USDT", spec))


async def latched(desk: Desk, code: str) -> Any:
    """The halt with this code, as soon as it is there."""

    async def look() -> Any:
        rows = await desk.rows("SELECT * FROM halts")
        return next((row for row in rows if row["code"] == code), None)

    return await until(look)


async def seen(desk: Desk) -> Any:
    """The worth of the deployment, once it is on record."""

    async def look() -> Any:
        rows = await desk.rows("SELECT * FROM worths WHERE scope = 'deployment' AND name = 'demo'")
        return rows[0] if rows else None

    return await until(look)


def codes(answer: dict[str, Any]) -> list[str]:
    return [decision["code"] for decision in answer["decisions"]]


async def test_a_loss_latches_and_only_reducing_goes_on_also_after_a_restart(
    desk: Desk, database: AsyncEngine, venue: PaperVenue, marks: Prices, limits: RiskLimits
) -> None:
    await refund(desk, {"limits": {"max_daily_loss": "0.05"}})
    await seen(desk)
    await desk.submit(1, {BTC: 0.8})
    await desk.processed(1)
    move(venue, marks, "46000")  # 8 % of 80 %
    halt = await latched(desk, "daily_loss")
    assert (halt["scope"], halt["name"], halt["state"], halt["by"]) == ("deployment", "demo", "reducing", "system")
    assert "5 % are allowed" in halt["reason"]
    await desk.engine.stop()
    async with database.begin() as connection:
        await connection.exec_driver_sql("""UPDATE deployments SET spec = '{"limits": {"max_daily_loss": "0.05"}}'""")
    again = await open_desk_again(desk)
    move(venue, marks, "50000")  # what was lost is back, the latch stays
    assert codes(await again.submit(2, {BTC: 1.0})) == ["reducing"]
    assert codes(await again.submit(3, {BTC: 0.2})) == ["allowed"]
    await again.processed(3)
    await limits.clear(Scope.DEPLOYMENT, "demo", "daily_loss", by="ann")
    assert await again.rows("SELECT * FROM halts") == []
    await refreshed(again)
    assert codes(await again.submit(4, {BTC: 0.4})) == ["allowed"]
    await again.processed(4)
    trail = await again.rows("SELECT subject, action, object FROM audit WHERE action LIKE '%daily_loss' ORDER BY id")
    assert [tuple(row.values()) for row in trail] == [
        ("system", "halt.daily_loss", "deployment:demo"),
        ("ann", "unhalt.daily_loss", "deployment:demo"),
    ]
    await again.check()
    await again.engine.stop()


async def open_desk_again(desk: Desk) -> Desk:
    """Another engine on the same tables and the same venue, ready."""
    exchange = desk.exchange
    assert isinstance(exchange, PaperExchange)
    again = await open_desk(desk.database, exchange, desk.marks, {"limits": {"max_daily_loss": "0.05"}})
    await again.engine.ready("main")
    return again


def move(venue: PaperVenue, marks: Prices, price: str) -> None:
    marks.prices[BTC] = D(price)
    venue.move(BTC, D(price))


async def refreshed(desk: Desk) -> None:
    """Until the account has looked at the halts again."""

    async def look() -> bool:
        return not (await desk.engine.risk("main"))["demo"]["halts"]

    await until(look)


async def test_a_target_that_was_held_back_is_followed_when_it_may(desk: Desk, halts: Halts) -> None:
    await halts.latch(Scope.ACCOUNT, "main", "test", TradingState.REDUCING, "because", by="ann")

    async def look() -> bool:
        return bool((await desk.engine.risk("main"))["demo"]["halts"])

    await until(look)
    assert codes(await desk.submit(1, {BTC: 0.5})) == ["reducing"]
    await halts.lift(Scope.ACCOUNT, "main", "test", by="ann")
    await refreshed(desk)
    assert codes(await desk.submit(2, {BTC: 0.5})) == ["allowed"]
    await desk.processed(2)
    await desk.check()


async def test_an_accounts_limit_counts_all_its_deployments(
    desk: Desk, database: AsyncEngine, limits: RiskLimits
) -> None:
    await deploy(database, "other")
    await refund(desk, {}, "other")
    await limits.put(Scope.ACCOUNT, "main", Limits(max_position_notional=D(3000)), by="ann")

    async def look() -> bool:
        return len((await desk.engine.risk("main"))["demo"]["limits"]) == 1

    await until(look)
    assert codes(await desk.submit(1, {BTC: 0.2})) == ["allowed"]
    await desk.processed(1)
    other = await desk.engine.submit("other", 1, request(1, "0.2"))
    assert codes(other) == ["max_position_notional"]
    await desk.processed(1, "other")
    worth = (await desk.engine.risk("main"))["other"]["limits"][0]["used"]["positions"][BTC]
    assert D("2990") < worth <= D(3000)
    await desk.check()


def request(bar: int, target: str) -> Any:
    from cashup.trading.intents import parse_request

    return parse_request(str(bar), bar, {BTC: target})


async def test_limits_are_set_by_whose_they_are_with_an_audit_row(desk: Desk, limits: RiskLimits) -> None:
    with pytest.raises(UsageError, match="in its file"):
        await limits.put(Scope.DEPLOYMENT, "demo", Limits(max_drawdown=D("0.1")), by="ann")
    with pytest.raises(UsageError, match="max_gross_exposure is no limit of a user"):
        await limits.put(Scope.USER, "ann", Limits(max_gross_exposure=D(1)), by="ann")
    with pytest.raises(NotFound):
        await limits.clear(Scope.USER, "ann", "daily_loss", by="ann")
    with pytest.raises(UsageError, match="unkill"):
        await limits.clear(Scope.USER, "ann", "kill", by="ann")
    await limits.put(Scope.USER, "ann", Limits(max_drawdown=D("0.2")), by="root")
    assert [(row["name"], row["limits"], row["by"]) for row in await limits.all()] == [
        ("ann", {"max_drawdown": "0.2"}, "root")
    ]
    await limits.put(Scope.USER, "ann", Limits(), by="root")
    assert await limits.all() == []
    trail = await desk.rows("SELECT subject, detail FROM audit WHERE action = 'risk.limits' ORDER BY id")
    assert [tuple(row.values()) for row in trail] == [("root", {"max_drawdown": "0.2"}), ("root", {})]


async def test_losses_are_measured_over_midnight_and_over_accounts(desk: Desk, database: AsyncEngine) -> None:
    """With a clock of its own: 3 % before and 3 % after midnight are no daily loss of 5 %, but a drawdown of 5.5 %."""
    await desk.engine.stop()
    await deploy(database, "far", account="elsewhere")
    clock = VirtualClock(parse_time("2025-03-01T12:00"))
    halts = Halts(database, clock)
    limits = {
        (Scope.DEPLOYMENT, "demo"): Limits(max_daily_loss=D("0.05")),
        (Scope.USER, "ann"): Limits(max_drawdown=D("0.025"), on_breach="halted"),
    }

    leases = {account: await leased(database, account) for account in ("main", "elsewhere")}

    async def look(account: str, name: str, value: int) -> bool:
        watch = LossWatch(leases[account], database, halts, clock)
        return await watch.look([Equity(name, "ann", "EUR", D(value), D(1000))], limits, await halts.all())

    assert not await look("elsewhere", "far", 1000)
    assert not await look("main", "demo", 1000)
    clock.advance_to(parse_time("2025-03-01T23:59"))
    assert not await look("main", "demo", 970)
    clock.advance_to(parse_time("2025-03-02T00:00"))
    assert await look("main", "demo", 941)  # 59 of the 2000 that ann has
    assert [(halt.target, halt.code, halt.state.value) for halt in await halts.all()] == [
        ("user:ann", "max_drawdown", "halted")
    ]
    assert not await look("main", "demo", 941)  # latched once
    assert await look("main", "demo", 921)  # 5.05 % of 970
    assert {halt.target for halt in await halts.all()} == {"user:ann", "deployment:demo"}


async def leased(database: AsyncEngine, account: str) -> Lease:
    lease = await Lease.take(database, account, Holder())
    assert lease is not None
    return lease


TAKEN = "UPDATE account_leases SET fence = fence + 1, holder = 'another'"
RUN_OUT = "UPDATE account_leases SET expires = 1"


@pytest.mark.parametrize("how", [TAKEN, RUN_OUT])
async def test_who_has_lost_the_lease_measures_nothing(
    desk: Desk, database: AsyncEngine, halts: Halts, how: str
) -> None:
    """As after a pause: what it knows of prices and positions may be wrong by now, and somebody else measures."""
    await desk.engine.stop()
    watch = LossWatch(await leased(database, "main"), database, halts, WallClock())
    limits = {(Scope.DEPLOYMENT, "demo"): Limits(max_daily_loss=D("0.05"))}
    assert not await watch.look([Equity("demo", "ann", "EUR", D(1000), D(1000))], limits, [])
    async with database.begin() as connection:
        await connection.exec_driver_sql(how)
    before = await desk.rows("SELECT * FROM worths")
    with pytest.raises(LeaseLost):
        await watch.look([Equity("demo", "ann", "EUR", D(500), D(1000))], limits, [])
    assert (await halts.all(), await desk.rows("SELECT * FROM worths")) == ([], before)


async def test_the_first_look_after_a_pause_measures_nothing(desk: Desk, database: AsyncEngine, halts: Halts) -> None:
    await desk.engine.stop()
    watch = LossWatch(await leased(database, "main"), database, halts, WallClock(), paused=0.5)
    limits = {(Scope.DEPLOYMENT, "demo"): Limits(max_daily_loss=D("0.05"))}

    async def look(value: int) -> bool:
        return await watch.look([Equity("demo", "ann", "EUR", D(value), D(1000))], limits, [])

    assert not await look(1000)
    await asyncio.sleep(0.6)
    assert not await look(500)
    assert await look(500)


async def test_what_rests_is_cancelled_when_a_loss_latches(desk: Desk, marks: Prices, venue: PaperVenue) -> None:
    await refund(desk, {"limits": {"max_drawdown": "0.05", "max_open_orders": 1}})
    await seen(desk)
    await desk.submit(1, {BTC: 0.8})
    await desk.processed(1)
    bid = {"symbol": BTC, "side": "buy", "type": "limit", "quantity": "0.01", "price": "20000"}
    assert codes(await desk.place("bid", **bid)) == ["allowed"]
    assert codes(await desk.place("second", **bid)) == ["max_open_orders"]

    async def resting() -> bool:
        return len(await desk.exchange.open_orders()) == 1

    await until(resting)
    move(venue, marks, "46000")
    await latched(desk, "max_drawdown")

    async def gone() -> bool:
        return not await desk.exchange.open_orders()

    await until(gone)


async def test_what_is_filled_and_not_booked_yet_counts(faulty: Desk, venue: PaperVenue) -> None:
    """The venue's answer says that a buy is filled; until its trades are read it is in no position, but is there."""
    await refund(faulty, {"limits": {"max_position_notional": "6000"}})
    exchange = faulty.exchange
    assert isinstance(exchange, FaultyExchange)
    exchange.drop_frames = exchange.break_trades = True
    crossing = {"symbol": BTC, "side": "buy", "type": "limit", "quantity": "0.1", "price": "50000"}
    (ident,) = (await faulty.place("1", **crossing))["orders"]

    async def filled() -> bool:
        rows = await faulty.rows("SELECT state, traded FROM orders")
        return [tuple(row.values()) for row in rows] == [("filled", 0)]

    await until(filled)
    assert codes(await faulty.place("2", **crossing)) == ["max_position_notional"]
    exchange.break_trades = False
    await faulty.order(ident, "filled")
    await faulty.check()


async def test_closed_trades_pause_and_are_there_after_a_restart(
    desk: Desk, database: AsyncEngine, paper_account: PaperAccount
) -> None:
    spec = {"protections": [{"method": "CooldownPeriod", "stop_duration": 60}], "limits": {}}
    await refund(desk, spec)
    for bar, target in ((1, 0.5), (2, 0.25), (3, 0)):
        await desk.submit(bar, {BTC: target})
        await desk.processed(bar)
    rows = await desk.rows("SELECT * FROM closed_trades")
    assert [(row["symbol"], row["side"], row["reason"]) for row in rows] == [(BTC, "buy", "target")]
    assert rows[0]["entered"] == 5000
    assert -11 < rows[0]["profit"] < -9  # two fees of 0.1 % on 5000
    assert codes(await desk.submit(4, {BTC: 0.5})) == ["cooldown_period"]
    await desk.engine.stop()
    again = await open_desk(database, desk.exchange, desk.marks, spec)
    assert codes(await again.submit(5, {BTC: 0.5})) == ["cooldown_period"]
    await again.check()
    await again.engine.stop()


async def test_a_closed_trade_keeps_why_it_was_left(desk: Desk) -> None:
    async def left(count: int) -> list[str]:
        async def look() -> Any:
            rows = await desk.rows("SELECT reason FROM closed_trades ORDER BY id")
            return [row["reason"] for row in rows] if len(rows) == count else None

        return list(await until(look))

    async def close(desks: Desks) -> str | None:
        return await flatten(desks, "demo")

    await desk.submit(1, {BTC: 0.5})
    await desk.processed(1)
    await desk.place("out", symbol=BTC, side="sell", quantity="0.0999")
    assert await left(1) == ["order"]
    await desk.submit(2, {BTC: 0.25})
    await desk.processed(2)
    await (await desk.engine.actor("main")).call(close)
    assert await left(2) == ["order", "flatten"]
    await desk.submit(3, {BTC: 0.5})
    await desk.processed(3)
    await desk.submit(4, {BTC: 0.0})
    await desk.processed(4)
    assert await left(3) == ["order", "flatten", "target"]
    await desk.check()
