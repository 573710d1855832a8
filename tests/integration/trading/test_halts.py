"""What a halt holds back, and that nothing slips past it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import insert, text

from cashup.clock import WallClock
from cashup.errors import NotFound
from cashup.orders.journal import Journal
from cashup.orders.lease import AccountState, Holder, Lease
from cashup.orders.tables import orders
from cashup.storage.lines import Lines
from cashup.trading.halts import Halts, Scope, effective
from cashup.trading.risk import TradingState
from tests.integration.trading.conftest import BTC, Desk, deploy, until
from tests.integration.trading.faults import FaultyExchange

SCOPES = [(Scope.ALL, ""), (Scope.USER, "ann"), (Scope.ACCOUNT, "main"), (Scope.DEPLOYMENT, "demo")]
OTHERS = [(Scope.USER, "bob"), (Scope.ACCOUNT, "other"), (Scope.DEPLOYMENT, "other")]


@pytest.fixture
async def halts(desk: Desk) -> Halts:
    return Halts(desk.database, WallClock())


@pytest.fixture
async def journal(desk: Desk) -> AsyncIterator[Journal]:
    """The journal of the account, which no engine trades, with a buy and a sell that wait to be sent."""
    await desk.engine.stop()
    lease = await Lease.take(desk.database, "main", Holder())
    assert lease is not None
    await lease.mark(AccountState.READY, "", WallClock())
    common = {"account": "main", "deployment": "demo", "symbol": BTC, "type": "market", "time_in_force": "ioc"}
    common |= {"state": "pending_send", "fees": {}, "limits": {}, "created_at": 0, "updated_at": 0}
    buy = common | {"client_order_id": "buy", "side": "buy", "cost": 10, "reduces": False}
    sell = common | {"client_order_id": "sell", "side": "sell", "quantity": 1, "reduces": True}
    async with desk.database.begin() as connection:
        await connection.execute(insert(orders).values(buy))
        await connection.execute(insert(orders).values(sell))
    lines = Lines(desk.database)
    yield Journal(lines, "main", lease.fence)
    await lines.close()


@pytest.mark.parametrize(("scope", "name"), SCOPES)
async def test_a_halt_of_each_scope_claims_nothing(halts: Halts, journal: Journal, scope: Scope, name: str) -> None:
    await halts.latch(scope, name, "kill", TradingState.HALTED, "because", by="ann")
    assert await journal.claim(["buy", "sell"], 1, 2) == set()
    await halts.lift(scope, name, "kill", by="ann")
    assert await journal.claim(["buy", "sell"], 1, 2) == {"buy", "sell"}


@pytest.mark.parametrize(("scope", "name"), SCOPES)
async def test_reducing_claims_what_reduces(halts: Halts, journal: Journal, scope: Scope, name: str) -> None:
    await halts.latch(scope, name, "daily_loss", TradingState.REDUCING, "because", by="system")
    assert await journal.claim(["buy", "sell"], 1, 2) == {"sell"}


@pytest.mark.parametrize(("scope", "name"), OTHERS)
async def test_a_halt_of_somebody_else_holds_nothing_back(
    halts: Halts, journal: Journal, scope: Scope, name: str
) -> None:
    await halts.latch(scope, name, "kill", TradingState.HALTED, "because", by="bob")
    assert await journal.claim(["buy", "sell"], 1, 2) == {"buy", "sell"}


async def test_the_worst_of_several_halts_holds(halts: Halts, journal: Journal, desk: Desk) -> None:
    await halts.latch(Scope.DEPLOYMENT, "demo", "daily_loss", TradingState.REDUCING, "lost", by="system")
    await halts.latch(Scope.ALL, "", "kill", TradingState.HALTED, "stop", by="root")
    await deploy(desk.database, "calm", account="other")
    async with desk.database.connect() as connection:
        here, there = await effective(connection, "main"), await effective(connection, "other")
    assert TradingState.worst(halt.state for halt in here["demo"]) is TradingState.HALTED
    assert [halt.code for halt in there["calm"]] == ["kill"]
    assert await journal.claim(["sell"], 1, 2) == set()
    await halts.lift(Scope.ALL, "", "kill", by="root")
    assert await journal.claim(["buy", "sell"], 1, 2) == {"sell"}


async def test_a_halt_leaves_its_traces(halts: Halts, desk: Desk) -> None:
    await halts.latch(Scope.USER, "ann", "kill", TradingState.HALTED, "a bad day", by="root")
    with pytest.raises(NotFound):
        await halts.lift(Scope.USER, "ann", "daily_loss", by="ann")
    await halts.lift(Scope.USER, "ann", "kill", by="ann")
    trail = await desk.rows("SELECT subject, action, object FROM audit WHERE action LIKE '%halt%' ORDER BY id")
    assert [tuple(row.values()) for row in trail] == [
        ("root", "halt.kill", "user:ann"),
        ("ann", "unhalt.kill", "user:ann"),
    ]
    told = await desk.rows("SELECT stream, data FROM outbox WHERE kind = 'halt_changed' ORDER BY seq")
    assert [(row["stream"], row["data"]["state"]) for row in told] == [
        ("deployment:demo", "halted"),
        ("account:main", "halted"),
        ("deployment:demo", "active"),
        ("account:main", "active"),
    ]


async def test_a_claim_that_waited_while_the_halt_came_claims_nothing(
    halts: Halts, journal: Journal, desk: Desk
) -> None:
    """The claim began before the halt was committed and got the account's row after it: it must not use what it saw."""
    async with desk.database.connect() as holder:
        await holder.execute(text("SELECT 1 FROM account_leases WHERE account = 'main' FOR UPDATE"))
        claim = asyncio.create_task(journal.claim(["buy", "sell"], 1, 2))
        await waiting(desk, 1)
        latch = asyncio.create_task(halts.latch(Scope.ACCOUNT, "main", "kill", TradingState.HALTED, "x", by="ann"))
        await waiting(desk, 2)
        assert await desk.rows("SELECT 1 FROM halts") != []  # committed, although its fence must wait
        await holder.execute(text("UPDATE account_leases SET halts = halts + 1 WHERE account = 'main'"))
        await holder.commit()
    assert await claim == set()
    await latch
    assert [row["state"] for row in await desk.rows("SELECT state FROM orders")] == ["pending_send"] * 2


async def test_when_a_halt_is_latched_the_claims_before_it_are_committed(
    halts: Halts, journal: Journal, desk: Desk
) -> None:
    """A hundred tries around the worst moment: whatever a claim returned was committed before `latch` returned."""
    for number in range(100):
        async with desk.database.begin() as connection:
            await connection.execute(text("UPDATE orders SET state = 'pending_send'"))
        claim = asyncio.create_task(journal.claim(["buy", "sell"], number, number))
        await asyncio.sleep(0.0001 * (number % 20))
        await halts.latch(Scope.ACCOUNT, "main", "kill", TradingState.HALTED, "x", by="ann")
        sending = await desk.rows("SELECT client_order_id FROM orders WHERE state = 'sending'")
        assert await claim == {row["client_order_id"] for row in sending}
        await halts.lift(Scope.ACCOUNT, "main", "kill", by="ann")


async def waiting(desk: Desk, count: int) -> None:
    """Until `count` sessions wait for a lock."""
    async with asyncio.timeout(10):
        while len(await desk.rows("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")) < count:
            await asyncio.sleep(0.01)


async def test_a_halted_account_sends_nothing_and_goes_on_when_it_is_lifted(desk: Desk, halts: Halts) -> None:
    await halts.latch(Scope.ACCOUNT, "main", "kill", TradingState.HALTED, "because", by="ann")
    await desk.submit(1, {BTC: 0.5})  # denied, or made and not claimed: the planner may not know of the halt yet
    await asyncio.sleep(0.6)  # longer than a turn of the actor: there is no event for what must not happen
    assert await desk.rows("SELECT 1 FROM orders WHERE claimed_at IS NOT NULL") == []
    await halts.lift(Scope.ACCOUNT, "main", "kill", by="ann")

    async def looked() -> bool:
        return not (await desk.engine.risk("main"))["demo"]["halts"]

    await until(looked)
    await desk.submit(2, {BTC: 0.5})
    await desk.processed(2)
    assert await desk.rows("SELECT 1 FROM orders WHERE claimed_at IS NOT NULL") != []
    await desk.check()


async def test_an_order_that_a_new_halt_held_back_is_not_sent_when_it_is_lifted(desk: Desk, halts: Halts) -> None:
    await desk.engine.ready("main")
    await halts.latch(Scope.ACCOUNT, "main", "kill", TradingState.HALTED, "because", by="ann")
    made = await desk.place("1", symbol=BTC, side="buy", cost="100")  # before the account has looked at the halts
    if made["orders"]:  # it looks once a second, and may have looked in between
        order = await desk.order(made["orders"][0], "expired")
        assert (order["reason"], order["reserved"]) == ("held back: because", 0)
    await halts.lift(Scope.ACCOUNT, "main", "kill", by="ann")
    await desk.check()


async def test_halts_are_looked_at_after_the_account_was_compared_anew(faulty: Desk) -> None:
    """The comparison takes longer than the pause between two looks, so one of them falls into it."""
    exchange = faulty.exchange
    assert isinstance(exchange, FaultyExchange)
    await faulty.engine.ready("main")
    exchange.slow_reads = 1.5
    exchange.breaks.set()
    await faulty.submit(1, {BTC: 0.2})  # a frame comes, and behind it the connection breaks
    await until(lambda: marked_ready(faulty, 2))
    exchange.slow_reads = 0.0
    await Halts(faulty.database, WallClock()).latch(Scope.ACCOUNT, "main", "x", TradingState.REDUCING, "y", by="ann")

    async def looked() -> bool:
        return bool((await faulty.engine.risk("main"))["demo"]["halts"])

    await until(looked)


async def marked_ready(desk: Desk, times: int) -> bool:
    """True when the account was marked ready so many times."""
    marks = await desk.rows("SELECT data ->> 'state' AS state FROM outbox WHERE kind = 'account_changed'")
    return [mark["state"] for mark in marks].count("ready") >= times
