"""Restarts, hand-overs and comparisons with the venue."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from sqlalchemy import insert, text, update

from cashup.clock import WallClock
from cashup.errors import Unavailable
from cashup.events import EventKind
from cashup.exchanges.base import Exchange
from cashup.exchanges.paper import PaperExchange
from cashup.exchanges.paper_venue import PaperAccount, PaperVenue
from cashup.orders.journal import Commit, Journal, LeaseLost
from cashup.orders.lease import AccountState, Holder, Lease
from cashup.orders.tables import order_events, orders
from cashup.storage.database import transaction
from cashup.storage.lines import Lines
from cashup.storage.outbox import emit
from cashup.trading import tables
from cashup.trading.engine import Engine
from cashup.trading.intents import parse_request
from cashup.types import Balance
from tests.integration.trading.conftest import BTC, ETH, QUICK, Desk, Prices, until


async def restarted(desk: Desk) -> Desk:
    """Another engine on the same database and venue, after the first was stopped."""
    await desk.engine.stop()

    async def connect(account: str) -> tuple[str, Exchange]:
        return "gate", desk.exchange

    engine = Engine(desk.database, WallClock(), desk.marks, connect, patience=QUICK)
    await engine.start()
    return Desk(desk.database, desk.exchange, engine, desk.marks)


async def test_a_restarted_engine_goes_on(desk: Desk) -> None:
    await desk.submit(1, {BTC: 0.5})
    await desk.processed(1)
    again = await restarted(desk)
    answer = await again.submit(1, {BTC: 0.5})
    assert len(answer["orders"]) == 1
    await again.submit(2, {BTC: 0.0})
    await again.processed(2)
    await again.check()
    await again.engine.stop()


async def test_a_difference_blocks_until_it_is_accepted(desk: Desk, paper_account: PaperAccount) -> None:
    await desk.submit(1, {BTC: 0.5})
    await desk.processed(1)
    paper_account.balances["USDT"] = Balance(paper_account.balances["USDT"].available + Decimal("12.5"))
    again = await restarted(desk)
    with pytest.raises(Unavailable, match=r"the venue holds 20012\.5 USDT, the books say 20000 \(12\.5 more\)"):
        await again.submit(2, {BTC: 0.0})
    row = (await again.rows("SELECT state, message FROM account_leases"))[0]
    assert (row["state"], "12.5 more" in row["message"]) == ("blocked", True)
    await again.engine.accept_difference("main", "ann")
    await again.engine.ready("main")
    await again.submit(2, {BTC: 0.0})
    await again.processed(2)
    assert len(await again.rows("SELECT 1 FROM audit WHERE action = 'account.accept_difference'")) == 1
    await again.check()
    await again.engine.stop()


async def test_an_order_that_was_never_sent_lapses(desk: Desk) -> None:
    """What a process leaves behind that dies after the first commit, found too late."""
    await desk.engine.stop()
    await leave_behind(desk, "pending_send", expires_at=1)
    again = await restarted(desk)
    await again.processed(1)
    assert [row["state"] for row in await again.rows("SELECT state FROM orders")] == ["expired"]
    await again.check()
    await again.engine.stop()


async def test_an_order_that_was_never_sent_is_sent_in_time(desk: Desk) -> None:
    await desk.engine.stop()
    await leave_behind(desk, "pending_send", expires_at=1 << 42)
    again = await restarted(desk)
    await again.processed(1)
    assert [row["state"] for row in await again.rows("SELECT state FROM orders")] == ["filled"]
    await again.check()
    await again.engine.stop()


async def test_a_claimed_order_is_never_sent_again(desk: Desk) -> None:
    await desk.engine.stop()
    await leave_behind(desk, "sending", expires_at=1)
    again = await restarted(desk)
    await again.processed(1)
    assert [row["state"] for row in await again.rows("SELECT state FROM orders")] == ["not_placed"]
    await again.check()
    await again.engine.stop()


async def test_an_order_is_claimed_once(desk: Desk) -> None:
    await desk.engine.stop()
    await leave_behind(desk, "pending_send", expires_at=1)
    lease = await Lease.take(desk.database, "main", Holder())
    assert lease is not None
    lines = Lines(desk.database)
    journal = Journal(lines, "main", lease.fence)
    assert await journal.claim([LEFT], 5, 10) == set()  # not before the account is ready
    await lease.mark(AccountState.READY, "", WallClock())
    claims = await asyncio.gather(*(journal.claim([LEFT], 5, 10) for _ in range(4)))
    assert sorted(len(claim) for claim in claims) == [0, 0, 0, 1]
    assert await journal.claim([LEFT], 6, 11) == set()
    row = (await desk.rows("SELECT state, claimed_at, send_before, fence FROM orders"))[0]
    assert dict(row) == {"state": "sending", "claimed_at": 5, "send_before": 10, "fence": lease.fence}
    await lines.close()


LEFT = "t-01HZZZZZZZZZZZZZZZZZZZZZZZ"


async def leave_behind(desk: Desk, state: str, expires_at: int) -> None:
    """One intent with one buy of 5000 USDT in `state`, its money set aside, as the journal would have written it."""
    ident, cost = LEFT, Decimal(5000)
    sizing = {"equity": "10000", "aims": []}
    intent = {"deployment": "demo", "key": "1", "bar": 1, "body_hash": "x", "fence": 1, "state": "buying"}
    intent |= {"body": {"targets": {BTC: "0.5"}, "rebalance": None}, "decisions": []}
    intent |= {"plan": {"sizing": sizing, "marks": {BTC: "50000"}}, "created_at": 0, "expires_at": expires_at}
    order = {"client_order_id": ident, "account": "main", "deployment": "demo", "intent": "1", "bar": 1, "symbol": BTC}
    order |= {"side": "buy", "type": "market", "cost": cost, "time_in_force": "ioc", "state": state, "fees": {}}
    order |= {"reserved_asset": "USDT", "reserved": cost, "limits": {}, "created_at": 0, "updated_at": 0}
    if state == "sending":
        order |= {"claimed_at": WallClock().now(), "send_before": 1}
    entry = {"transaction": "T", "account": "main", "deployment": "demo", "asset": "USDT", "cause": ident, "at": 1}
    moved = [entry | {"kind": "cash", "amount": -cost}, entry | {"kind": "reserved", "amount": cost}]
    event = {"client_order_id": ident, "account": "main", "at": 0, "event": "created", "actor": "test"}
    event |= {"to_state": state, "detail": {}}
    async with desk.database.begin() as connection:
        await connection.execute(insert(order_events).values(event))
        await connection.execute(insert(tables.intents).values(intent))
        await connection.execute(insert(orders).values(order))
        await connection.execute(insert(tables.ledger_entries), moved)
        await connection.execute(update(tables.books).values(cash=cost, reserved=cost, decided=1))
        await emit(connection, "deployment:demo", EventKind.INTENT_ACCEPTED, {"key": "1", "bar": 1}, 0)


async def test_one_gateway_trades_an_account(desk: Desk) -> None:
    assert await Lease.take(desk.database, "main", Holder()) is None
    await desk.submit(1, {BTC: 0.5})
    await desk.processed(1)


async def test_who_lost_the_lease_writes_nothing_and_claims_nothing(desk: Desk) -> None:
    row = (await desk.rows("SELECT fence FROM account_leases"))[0]
    lines = Lines(desk.database)
    stale = Journal(lines, "main", row["fence"] - 1)
    commit = Commit()
    commit.emit("account:main", EventKind.ACCOUNT_CHANGED, 0, {})
    with pytest.raises(LeaseLost):
        await stale.commit(commit)
    with pytest.raises(LeaseLost):
        await stale.claim(["t-x"], 0, 0)
    await lines.close()
    assert await desk.rows("SELECT 1 FROM outbox WHERE at = 0") == []


async def test_a_lease_taken_away_stops_the_actor_until_it_has_it_again(desk: Desk) -> None:
    await desk.submit(1, {BTC: 0.5})
    await desk.processed(1)
    async with desk.database.begin() as connection:
        await connection.execute(
            text("UPDATE account_leases SET fence = fence + 1, holder = 'elsewhere/1/x', expires = 1")
        )
    with pytest.raises(Unavailable):
        await desk.submit(2, {BTC: 0.0})
    await desk.engine.ready("main")
    await desk.submit(2, {BTC: 0.0})
    await desk.processed(2)
    assert len(await desk.rows("SELECT 1 FROM orders")) == 2
    await desk.check()


async def test_two_engines_one_account(desk: Desk, venue: PaperVenue, paper_account: PaperAccount) -> None:
    """The second one waits, and takes over when the first has gone."""
    exchange = PaperExchange(venue, paper_account)

    async def connect(account: str) -> tuple[str, Exchange]:
        return "gate", exchange

    second = Engine(desk.database, WallClock(), Prices(), connect, patience=QUICK)
    await second.start()
    await desk.submit(1, {BTC: 0.5})
    await desk.processed(1)
    await desk.engine.stop()
    await second.ready("main")
    await second.submit("demo", 1, parse_request("2", 2, {BTC: 0.0, ETH: 0.5}))
    await desk.processed(2)
    await desk.check()
    await second.stop()


async def test_what_is_held_of_a_symbol_that_nobody_watches_counts_at_its_last_price(desk: Desk) -> None:
    await desk.submit(1, {BTC: 0.5})
    await desk.processed(1)
    del desk.marks.prices[BTC]
    again = await restarted(desk)
    await again.submit(2, {ETH: 0.25})
    processed = await again.processed(2)
    assert Decimal(processed["equity"]) > 9990
    await again.check()
    await again.engine.stop()


async def test_the_journal_numbers_events_in_the_order_of_commits(desk: Desk) -> None:
    """While another transaction has a number and is not committed, an intent's commit waits for its own."""
    async with transaction(desk.database) as connection:
        first = await emit(connection, "account:other", EventKind.ACCOUNT_CHANGED, {}, 0)
        submitted = asyncio.create_task(desk.submit(1, {BTC: 0.0}))

        async def waits() -> bool:
            locks = await desk.rows("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            return bool(locks) or submitted.done()

        await until(waits)
        assert not submitted.done()
    await submitted
    assert min(row["seq"] for row in await desk.rows("SELECT seq FROM outbox WHERE kind = 'bar_processed'")) > first
