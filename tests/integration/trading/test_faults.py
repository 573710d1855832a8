"""Lost answers, lost orders, lost and repeated frames: one order per intent, booked once."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from cashup.errors import Unavailable
from tests.faults import rules
from tests.faults.checker import Checker
from tests.integration.trading.conftest import BTC, ETH, Desk, until
from tests.integration.trading.faults import FaultyExchange


@pytest.fixture
def exchange(faulty: Desk) -> FaultyExchange:
    assert isinstance(faulty.exchange, FaultyExchange)
    return faulty.exchange


async def test_an_answer_is_lost_after_the_effect(faulty: Desk, exchange: FaultyExchange) -> None:
    exchange.lose_answers = 1
    exchange.drop_frames = True
    await faulty.submit(1, {BTC: 0.5})
    await faulty.processed(1)
    assert len(exchange.placed) == 1
    assert [row["state"] for row in await faulty.rows("SELECT state FROM orders")] == ["filled"]
    await faulty.check()


async def test_an_order_is_lost_before_the_effect(faulty: Desk, exchange: FaultyExchange) -> None:
    exchange.lose_orders = 1
    await faulty.submit(1, {BTC: 0.5})
    await faulty.processed(1)
    first, second = await faulty.rows("SELECT * FROM orders ORDER BY created_at")
    assert (first["state"], second["state"]) == ("not_placed", "filled")
    assert len(first["evidence"]["scans"]) == 2
    assert first["evidence"]["scans"][0] >= first["send_before"] + 100  # not before the fence has passed, and a margin
    assert second["created_at"] >= first["evidence"]["scans"][1]
    assert first["client_order_id"] != second["client_order_id"]
    await faulty.check()


async def test_an_incomplete_scan_proves_nothing(faulty: Desk, exchange: FaultyExchange) -> None:
    exchange.lose_answers, exchange.break_reads = 1, 3
    exchange.drop_frames = True
    await faulty.submit(1, {BTC: 0.5})
    await faulty.processed(1)
    assert exchange.break_reads == 0
    assert len(exchange.placed) == 1
    await faulty.check()


async def test_nothing_was_sent(faulty: Desk, exchange: FaultyExchange) -> None:
    exchange.refuse_connections = 2
    await faulty.submit(1, {BTC: 0.5})
    await faulty.processed(1)
    states = [row["state"] for row in await faulty.rows("SELECT state FROM orders ORDER BY created_at")]
    assert states == ["rejected_local", "rejected_local", "filled"]
    await faulty.check()


async def test_it_gives_up_after_three_tries(faulty: Desk, exchange: FaultyExchange) -> None:
    exchange.refuse_connections = 100
    await faulty.submit(1, {BTC: 0.5})
    processed = await faulty.processed(1)
    assert len(processed["orders"]) == 3
    assert Decimal(processed["cash"]) == 10_000
    await faulty.check()


async def test_frames_are_lost(faulty: Desk, exchange: FaultyExchange) -> None:
    exchange.drop_frames = True
    await faulty.submit(1, {BTC: 0.5, ETH: 0.25})
    await faulty.processed(1)
    assert len(await faulty.rows("SELECT 1 FROM fills")) == 2
    await faulty.check()


async def test_frames_are_repeated(faulty: Desk, exchange: FaultyExchange) -> None:
    exchange.repeat_frames = 3
    await faulty.submit(1, {BTC: 0.5, ETH: 0.25})
    await faulty.processed(1)
    await faulty.submit(2, {BTC: 0.0})
    await faulty.processed(2)
    assert len(await faulty.rows("SELECT 1 FROM fills")) == 3
    await faulty.check()


async def test_what_happened_while_the_stream_was_broken_is_read(faulty: Desk, exchange: FaultyExchange) -> None:
    await faulty.submit(1, {BTC: 0.5})
    await faulty.processed(1)
    exchange.breaks.set()
    await faulty.submit(2, {BTC: 0.25})
    await faulty.processed(2)
    await faulty.check()


async def test_a_fill_of_an_order_that_was_held_to_be_absent_stops_the_account(
    faulty: Desk, exchange: FaultyExchange
) -> None:
    """A venue that takes an order after its fence: the fill is booked, nothing more is sent until somebody looks."""
    exchange.lose_orders = 1
    await faulty.submit(1, {BTC: 0.25})
    await faulty.processed(1)
    await exchange.inner.place(replace(exchange.placed[0], expires_at=None))

    async def blocked() -> object:
        return await faulty.rows(
            "SELECT 1 FROM account_leases WHERE state = 'blocked' AND account IN "
            "(SELECT name FROM halts WHERE scope = 'account' AND code = 'contradiction')"
        )

    await until(blocked)
    order = (await faulty.rows("SELECT * FROM orders ORDER BY created_at"))[0]
    assert (order["state"], order["traded"]) == ("not_placed", Decimal("0.05"))
    assert len(await faulty.rows("SELECT 1 FROM fills")) == 2
    with pytest.raises(Unavailable, match="held to be not_placed"):
        await faulty.submit(2, {BTC: 0.0})
    await until(blocked)  # also after the account was compared again: only a person takes the flag back
    await faulty.engine.accept_difference("main", "ann")
    await faulty.engine.ready("main")
    await faulty.submit(3, {BTC: 0.0})
    await faulty.processed(3)
    checker = Checker(faulty.database, "main", faulty.book)
    money = [rules.i01_each_venue_order_is_one_claim, rules.i09_at_rest_the_ledger_is_what_the_exchange_holds]
    assert await checker.check(money) == []  # that the step has two orders on the venue now is what stopped it
