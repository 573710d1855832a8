"""The kill switch on a venue in memory: what it blocks, cancels, waits for, sells, and remembers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cashup.clock import WallClock
from cashup.errors import NotFound, UsageError
from cashup.exchanges.base import Exchange
from cashup.exchanges.paper import PaperExchange
from cashup.exchanges.paper_venue import PaperAccount, PaperVenue
from cashup.trading.engine import Engine
from cashup.trading.halts import Halts, Scope
from cashup.trading.kill import Kill, KillSwitch
from tests.integration.trading.conftest import BTC, ETH, QUICK, Desk, Prices, deploy, open_desk, until
from tests.integration.trading.faults import FaultyExchange
from tests.integration.trading.resting import leave_limits, states

SCOPES = [(Scope.ALL, ""), (Scope.USER, "ann"), (Scope.ACCOUNT, "main"), (Scope.DEPLOYMENT, "demo")]


@pytest.fixture
def exchange(venue: PaperVenue, paper_account: PaperAccount) -> FaultyExchange:
    return FaultyExchange(PaperExchange(venue, paper_account))


@pytest.fixture
async def desk(database: Any, exchange: FaultyExchange, marks: Prices) -> AsyncIterator[Desk]:
    """A ready desk behind an exchange that can fail, with the money booked."""
    await deploy(database)
    desk = await open_desk(database, exchange, marks)
    yield desk
    await desk.engine.stop()


def switch(desk: Desk) -> KillSwitch:
    return KillSwitch(desk.database, WallClock(), Halts(desk.database, WallClock()), desk.engine.sweep)


async def restarted(desk: Desk) -> None:
    """Another engine for the same desk."""
    await desk.engine.stop()

    async def connect(account: str) -> tuple[str, Exchange]:
        return "gate", desk.exchange

    desk.engine = Engine(desk.database, WallClock(), desk.marks, connect, patience=QUICK)
    await desk.engine.start()


async def with_limits(desk: Desk, count: int = 3, *symbols: Any) -> None:
    """So many orders rest on the venue, in each symbol."""
    await desk.engine.stop()
    for symbol in symbols or (BTC,):
        price = "10000" if symbol == BTC else "1000"
        await leave_limits(desk.database, count, symbol, price=price, quantity="0.01")
    await restarted(desk)

    async def resting() -> bool:
        return len(await desk.exchange.open_orders()) == count * len(symbols or (BTC,))

    await until(resting)


async def swept(desk: Desk, scope: Scope, name: str = "") -> dict[str, Any]:
    """The sweep of the account, when it is done."""

    async def look() -> dict[str, Any] | None:
        found = (await switch(desk).state(scope, name))["accounts"]
        return found[0] if all(account["state"] == "done" for account in found) else None

    return dict(await until(look))


async def ended(desk: Desk, *wanted: str) -> None:
    """Every order is in one of these states, and each state is that of some order."""

    async def look() -> bool:
        return set((await states(desk.database)).values()) == set(wanted)

    await until(look)


@pytest.mark.parametrize(("scope", "name"), SCOPES)
async def test_a_kill_of_each_scope_cancels_what_rests_and_blocks_what_comes(
    desk: Desk, scope: Scope, name: str
) -> None:
    await with_limits(desk, 3, BTC, ETH)
    await switch(desk).kill(Kill(scope, name, reason="enough"), by="ann")
    sweep = await swept(desk, scope, name)
    assert {symbol: market["cancelled"] for symbol, market in sweep["markets"].items()} == {BTC: 3, ETH: 3}
    assert await desk.exchange.open_orders() == []
    await ended(desk, "cancelled")
    await desk.submit(1, {BTC: 0.5})
    await asyncio.sleep(0.6)  # longer than a turn of the actor: there is no event for what must not happen
    assert await desk.rows("SELECT 1 FROM orders WHERE bar = 1 AND claimed_at IS NOT NULL") == []
    await switch(desk).unkill(scope, name, by="ann")
    await desk.processed(1)
    await desk.check()


async def test_a_kill_of_somebody_else_leaves_everything(desk: Desk) -> None:
    await with_limits(desk)
    await deploy(desk.database, "other", account="elsewhere")
    await switch(desk).kill(Kill(Scope.DEPLOYMENT, "other"), by="ann")
    await asyncio.sleep(1.2)  # longer than an account takes to look for sweeps
    assert len(await desk.exchange.open_orders()) == 3


async def test_a_kill_outlives_a_restart_and_goes_on_where_it_was(desk: Desk) -> None:
    """Killed while nobody trades the account, as after a crash right behind the commit (C28)."""
    await with_limits(desk)
    await desk.engine.stop()
    await switch(desk).kill(Kill(Scope.ACCOUNT, "main"), by="ann")
    assert len(await desk.exchange.open_orders()) == 3
    await restarted(desk)
    await swept(desk, Scope.ACCOUNT, "main")
    assert await desk.exchange.open_orders() == []
    await restarted(desk)
    await desk.engine.ready("main")
    await desk.submit(1, {BTC: 0.5})
    await asyncio.sleep(0.6)
    assert await desk.rows("SELECT 1 FROM orders WHERE bar = 1 AND claimed_at IS NOT NULL") == []


async def test_a_kill_that_flattens_sells_what_is_held_although_nothing_else_is_sent(desk: Desk) -> None:
    await desk.submit(1, {BTC: 0.5, ETH: 0.25})
    await desk.processed(1)
    await desk.engine.stop()
    await leave_limits(desk.database, 2, price="10000", quantity="0.01")
    await restarted(desk)
    await switch(desk).kill(Kill(Scope.DEPLOYMENT, "demo", flatten=True), by="ann")
    await swept(desk, Scope.DEPLOYMENT, "demo")
    held = await desk.rows("SELECT symbol FROM positions WHERE quantity + reserved > 0.0001")
    assert held == []
    sold = await desk.rows("SELECT symbol, state FROM orders WHERE side = 'sell' AND flattens ORDER BY symbol")
    assert [tuple(row.values()) for row in sold] == [(BTC, "filled"), (ETH, "filled")]
    assert len(await desk.rows("SELECT 1 FROM outbox WHERE kind = 'bar_processed'")) == 2
    await desk.check()


async def test_a_kill_that_flattens_goes_on_after_a_lost_answer(desk: Desk, exchange: FaultyExchange) -> None:
    await desk.submit(1, {BTC: 0.5})
    await desk.processed(1)
    exchange.lose_orders = 1
    await switch(desk).kill(Kill(Scope.ALL, flatten=True), by="root")
    await swept(desk, Scope.ALL)
    assert await desk.rows("SELECT 1 FROM positions WHERE quantity + reserved > 0.0001") == []
    await desk.check()


async def test_flatten_sells_without_a_kill(desk: Desk) -> None:
    await desk.submit(1, {BTC: 0.5})
    await desk.processed(1)
    await switch(desk).flatten("demo", by="ann")

    async def flat() -> object:
        return (await switch(desk).flattening("demo"))["state"] == "done"

    await until(flat)
    assert await desk.rows("SELECT 1 FROM positions WHERE quantity + reserved > 0.0001") == []
    await desk.submit(2, {BTC: 0.5})  # it is not killed: it may buy again
    await desk.processed(2)
    assert len(await desk.rows("SELECT 1 FROM positions WHERE quantity > 0.01")) == 1
    await desk.check()


async def test_who_is_not_there_cannot_be_killed(desk: Desk) -> None:
    for scope in (Scope.DEPLOYMENT, Scope.ACCOUNT, Scope.USER):
        with pytest.raises(NotFound):
            await switch(desk).kill(Kill(scope, "nobody"), by="root")
    with pytest.raises(UsageError):
        await switch(desk).kill(Kill(Scope.ACCOUNT), by="root")
    with pytest.raises(NotFound):
        await switch(desk).unkill(Scope.ALL, "", by="root")
    assert await desk.rows("SELECT 1 FROM halts") == []


async def test_killing_twice_asks_for_more(desk: Desk) -> None:
    await desk.submit(1, {BTC: 0.5})
    await desk.processed(1)
    await switch(desk).kill(Kill(Scope.ACCOUNT, "main"), by="ann")
    await swept(desk, Scope.ACCOUNT, "main")
    assert len(await desk.rows("SELECT 1 FROM positions WHERE quantity > 0.01")) == 1
    await switch(desk).kill(Kill(Scope.ACCOUNT, "main", flatten=True), by="ann")
    await swept(desk, Scope.ACCOUNT, "main")
    assert await desk.rows("SELECT 1 FROM positions WHERE quantity + reserved > 0.0001") == []
