"""Explicit orders: placed, cancelled and amended once per key, with all the races, and never at the cost of targets."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import insert

from cashup.clock import WallClock
from cashup.errors import Conflict, NotFound, UsageError
from cashup.exchanges.paper_venue import PaperAccount, PaperVenue
from cashup.orders.journal import FenceLost
from cashup.orders.tables import halts
from cashup.types import OrderRequest, OrderType, Side, TimeInForce, Trade
from tests.integration.trading.conftest import BTC, ETH, Desk, Prices, until
from tests.integration.trading.faults import FaultyExchange

D = Decimal
BID = {"symbol": BTC, "side": "buy", "type": "limit", "quantity": "0.1", "price": "40000"}


@pytest.fixture
def exchange(faulty: Desk) -> FaultyExchange:
    assert isinstance(faulty.exchange, FaultyExchange)
    return faulty.exchange


async def resting(desk: Desk, key: str = "bid", **changes: Any) -> str:
    """A bid far below the market that rests."""
    answer = await desk.place(key, **BID | changes)
    (ident,) = answer["orders"]
    await desk.order(ident, "open")
    return str(ident)


# -- placing ------------------------------------------------------------------------------------------------------


async def test_a_market_buy_spends_what_it_was_given(desk: Desk) -> None:
    answer = await desk.place("1", symbol=BTC, side="buy", cost="5000")
    assert (answer["kind"], answer["state"], answer["decisions"][0]["code"]) == ("order", "done", "allowed")
    order = await desk.order(answer["orders"][0], "filled")
    assert (order["spent"], order["traded"], order["bar"], order["reduces"]) == (D(5000), D("0.1"), None, False)
    await desk.check()


async def test_a_limit_order_rests_with_its_money_set_aside_and_fills(desk: Desk, venue: PaperVenue) -> None:
    ident = await resting(desk)
    book = (await desk.rows("SELECT cash, reserved FROM books"))[0]
    assert (book["cash"], book["reserved"]) == (D(6000), D(4000))
    await desk.check()
    venue.move(BTC, D(40_000))
    assert (await desk.order(ident, "filled"))["spent"] == D(4000)
    await desk.check()


async def test_a_sell_of_what_is_held_reduces_and_one_of_more_is_denied(desk: Desk) -> None:
    await desk.place("1", symbol=BTC, side="buy", cost="5000")

    async def bought() -> Any:
        return await desk.rows("SELECT 1 FROM positions WHERE quantity = 0.0999")

    await until(bought)
    much = await desk.place("2", symbol=BTC, side="sell", quantity="0.1")
    assert (much["orders"], much["decisions"][0]["code"]) == ([], "insufficient_position")
    ask = await desk.place("3", symbol=BTC, side="sell", quantity="0.0999", price="60000")
    assert (await desk.order(ask["orders"][0], "open"))["reduces"] is True
    again = await desk.place("4", symbol=BTC, side="sell", quantity="0.0001")
    assert again["decisions"][0]["code"] == "insufficient_position"  # the ask holds all of it
    await desk.check()


async def test_an_order_is_denied_rather_than_made_smaller(desk: Desk) -> None:
    answer = await desk.place("1", symbol=BTC, side="buy", cost="20000")
    assert answer["orders"] == []
    assert [(d["action"], d["code"]) for d in answer["decisions"]] == [("deny", "insufficient_cash")]
    small = await desk.place("2", **BID | {"quantity": "0.00001"})
    assert small["decisions"][-1]["code"] == "below_minimum"
    await desk.check()


async def test_post_only_that_would_take_ends_at_entry(desk: Desk) -> None:
    answer = await desk.place("1", **BID | {"price": "60000", "time_in_force": "poc"})
    order = await desk.order(answer["orders"][0], "cancelled")
    assert (order["reason"], order["traded"], order["reserved"]) == ("poc", 0, 0)
    await desk.check()


async def test_an_immediate_order_that_fills_in_part_is_cancelled_with_what_it_got(
    desk: Desk, venue: PaperVenue
) -> None:
    venue.move(BTC, D(50_000), D("0.03"))
    answer = await desk.place("1", **BID | {"price": "50000", "time_in_force": "ioc"})
    order = await desk.order(answer["orders"][0], "cancelled")
    assert (order["reason"], order["traded"], order["reserved"]) == ("ioc", D("0.03"), 0)
    venue.move(BTC, D(50_000), D("0.03"))
    answer = await desk.place("2", **BID | {"price": "50000", "time_in_force": "fok"})
    order = await desk.order(answer["orders"][0], "cancelled")
    assert (order["reason"], order["traded"]) == ("fok", 0)
    await desk.check()


async def test_a_repeated_key_gives_the_stored_answer_and_another_body_conflicts(desk: Desk) -> None:
    first = await desk.place("1", **BID)
    assert await desk.place("1", **BID | {"price": "40000.00"}) == first
    assert len(await desk.rows("SELECT 1 FROM orders")) == 1
    with pytest.raises(Conflict, match="other content"):
        await desk.place("1", **BID | {"price": "41000"})
    with pytest.raises(Conflict, match="other content"):
        await desk.cancel("1", first["orders"][0])
    await desk.submit(1, {BTC: 0.5}, key="0")
    with pytest.raises(Conflict, match="other targets"):
        await desk.place("0", **BID)
    await desk.processed(1)
    await desk.check()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quantity": "NaN"}, "plain digits"),
        ({"quantity": 1e-9}, "plain digits"),
        ({"quantity": "1E+5"}, "plain digits"),
        ({"quantity": "-1"}, "plain digits"),
        ({"quantity": "0"}, "above zero"),
        ({"quantity": "0." + "1" * 40}, "at most 34 digits"),
        ({"quantity": "0.000000001"}, "venue's step"),
        ({"price": "40000.05"}, "venue's step"),
        ({"price": None}, "names its price"),
        ({"cost": "100"}, "given as quantity"),
        ({"side": "both"}, "one of buy, sell"),
        ({"time_in_force": "day"}, "one of gtc, ioc, fok, poc"),
        ({"symbol": "BTCUSDT"}, "did you mean BTC/USDT"),
        ({"symbol": ""}, "names its symbol"),
        ({"size": "1"}, "size is nothing this takes"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_58_nonsense_is_refused_and_not_stored(desk: Desk, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        await desk.place("1", **BID | change)
    assert await desk.rows("SELECT 1 FROM intents UNION ALL SELECT 1 FROM orders") == []


async def test_an_older_attempt_places_nothing(desk: Desk) -> None:
    with pytest.raises(FenceLost):
        await desk.place("1", fence=0, **BID)
    assert await desk.rows("SELECT 1 FROM intents UNION ALL SELECT 1 FROM orders") == []
    (ident,) = (await desk.place("1", fence=1, **BID))["orders"]
    await desk.order(ident, "open")
    await desk.check()


# -- beside targets -----------------------------------------------------------------------------------------------


async def test_targets_go_on_beside_resting_orders_with_what_these_do_not_hold(
    desk: Desk, venue: PaperVenue, marks: Prices
) -> None:
    bid = await resting(desk)
    await desk.submit(1, {ETH: 1.0})
    processed = await desk.processed(1)
    order = (await desk.rows("SELECT * FROM orders WHERE intent = '1'"))[0]
    assert order["cost"] == D(6000)  # not the 10000 of the target: 4000 are held by the bid
    assert D(processed["cash"]) == 4000
    ask = await desk.place("ask", symbol=ETH, side="sell", quantity="1", price="3000")
    await desk.order(ask["orders"][0], "open")
    await desk.submit(2, {ETH: 0.0})
    await desk.processed(2)
    sold = (await desk.rows("SELECT * FROM orders WHERE intent = '2'"))[0]
    assert sold["quantity"] == D("1.9970")  # all but what the ask holds
    assert (await desk.order(bid))["state"] == "open"
    await desk.check()


async def test_nothing_is_added_beside_an_order_whose_fate_is_unknown(faulty: Desk, exchange: FaultyExchange) -> None:
    exchange.lose_orders, exchange.break_reads = 1, 5
    unknown = await faulty.place("a", **BID)
    await faulty.order(unknown["orders"][0], "unknown")
    denied = await faulty.place("b", **BID)
    assert denied["decisions"][0]["code"] == "unknown_order"
    assert (await faulty.submit(1, {BTC: 0.1}))["state"] == "selling"  # it waits
    assert (await faulty.order(unknown["orders"][0], "not_placed"))["reserved"] == 0
    await faulty.processed(1)
    await faulty.check()


# -- cancelling ---------------------------------------------------------------------------------------------------


async def test_18_a_cancel_after_a_partial_fill_returns_the_rest(desk: Desk, venue: PaperVenue) -> None:
    ident = await resting(desk)
    venue.move(BTC, D(40_000), D("0.03"))
    assert (await desk.cancel("c", ident))["kind"] == "cancel"
    order = await desk.order(ident, "cancelled")
    assert (order["traded"], order["reserved"], order["cancelling"]) == (D("0.03"), 0, False)
    decision = (await desk.concluded("c"))["decisions"][0]
    assert (decision["action"], decision["code"]) == ("allow", "cancelled")
    assert "0.03 BTC of it were filled" in decision["reason"]
    book = (await desk.rows("SELECT cash, reserved FROM books"))[0]
    assert (book["cash"], book["reserved"]) == (D(8800), 0)
    repeated = await desk.cancel("c", ident)
    assert (repeated["state"], repeated["orders"]) == ("done", [ident])
    await desk.check()


async def test_19_a_cancel_that_races_a_full_fill_is_too_late(
    faulty: Desk, exchange: FaultyExchange, venue: PaperVenue
) -> None:
    ident = await resting(faulty)
    exchange.drop_frames = True
    venue.move(BTC, D(40_000))
    await faulty.cancel("c", ident)
    assert (await faulty.order(ident, "filled"))["traded"] == D("0.1")
    assert (await faulty.concluded("c"))["decisions"][0]["code"] == "too_late"
    await faulty.check()


async def test_20_a_cancel_that_times_out_is_asked_about_and_sent_again(faulty: Desk, exchange: FaultyExchange) -> None:
    ident = await resting(faulty)
    exchange.lose_changes = 2
    await faulty.cancel("c", ident)
    await faulty.order(ident, "pending_cancel", "cancelled")
    await faulty.order(ident, "cancelled")
    assert len(exchange.cancelled) == 3
    assert (await faulty.concluded("c"))["decisions"][0]["code"] == "cancelled"
    await faulty.check()


async def test_20_a_cancel_whose_answer_is_lost_is_seen_to_have_worked(faulty: Desk, exchange: FaultyExchange) -> None:
    ident = await resting(faulty)
    exchange.lose_change_answers, exchange.drop_frames = 1, True
    await faulty.cancel("c", ident)
    await faulty.order(ident, "cancelled")
    assert len(exchange.cancelled) == 1
    await faulty.check()


async def test_21_a_cancel_of_an_order_that_was_never_confirmed_proves_nothing(
    faulty: Desk, exchange: FaultyExchange
) -> None:
    exchange.lose_orders, exchange.break_reads = 1, 8
    ident = (await faulty.place("1", **BID))["orders"][0]
    await faulty.order(ident, "unknown")
    exchange.cancelled.clear()
    await faulty.cancel("c", ident)
    row = await faulty.order(ident)
    assert (row["state"], row["cancelling"], row["reserved"]) == ("unknown", True, D(4000))
    ended = await faulty.order(ident, "not_placed")
    assert len(ended["evidence"]["scans"]) == 2
    assert (await faulty.concluded("c"))["decisions"][0]["code"] == "too_late"
    await faulty.check()


async def test_a_cancel_of_an_unknown_order_that_rests_ends_it(faulty: Desk, exchange: FaultyExchange) -> None:
    exchange.lose_answers, exchange.drop_frames, exchange.break_reads = 1, True, 3
    ident = (await faulty.place("1", **BID))["orders"][0]
    await faulty.order(ident, "unknown")
    await faulty.cancel("c", ident)
    assert (await faulty.order(ident, "cancelled"))["reserved"] == 0
    assert len(exchange.placed) == 1
    await faulty.check()


async def test_an_order_that_was_not_sent_ends_here(faulty: Desk, exchange: FaultyExchange) -> None:
    exchange.full = 60.0
    (ident,) = (await faulty.place("1", symbol=BTC, side="buy", cost="100"))["orders"]
    assert (await faulty.order(ident))["state"] == "pending_send"
    await faulty.cancel("c", ident)
    ended = await faulty.order(ident, "cancelled")
    assert (ended["claimed_at"], ended["reserved"], ended["reason"]) == (None, 0, "cancelled before it was sent")
    assert exchange.placed == []
    await faulty.check()


async def test_an_amendment_that_has_no_room_is_not_claimed_and_goes_out_when_it_has(
    faulty: Desk, exchange: FaultyExchange
) -> None:
    """Its fence runs from the claim, so it waits before that."""
    ident = await resting(faulty)
    exchange.full = 0.05
    await faulty.amend("a", ident, price="39000")
    await asyncio.sleep(0.2)
    row = await faulty.order(ident)
    assert (row["amending"] is not None, row["amend_before"], exchange.amended) == (True, None, [])
    exchange.full = 0.0
    assert (await faulty.concluded("a"))["decisions"][-1]["code"] == "amended"
    assert (await faulty.order(ident))["price"] == 39_000
    assert exchange.amended == [row["exchange_order_id"]]
    await faulty.check()


async def test_a_cancel_of_what_has_ended_is_too_late_and_one_of_nothing_is_not_found(desk: Desk) -> None:
    answer = await desk.place("1", symbol=BTC, side="buy", cost="5000")
    await desk.order(answer["orders"][0], "filled")
    late = await desk.cancel("c", answer["orders"][0])
    assert (late["state"], late["decisions"][0]["code"]) == ("done", "too_late")
    with pytest.raises(NotFound, match="no order t-nobody"):
        await desk.cancel("d", "t-nobody")
    assert await desk.rows("SELECT 1 FROM intents WHERE key = 'd'") == []


async def test_an_order_is_cancelled_by_the_venues_id_too(desk: Desk) -> None:
    ident = await resting(desk)
    theirs = (await desk.order(ident))["exchange_order_id"]
    assert (await desk.cancel("c", theirs))["orders"] == [ident]
    await desk.order(ident, "cancelled")
    await desk.check()


async def test_cancels_pass_while_the_account_is_blocked(desk: Desk, venue: PaperVenue) -> None:
    """A second order under our client id stops the account; what rests can still be ended."""
    ident = await resting(desk)
    twin = OrderRequest(ident, BTC, Side.BUY, OrderType.MARKET, cost=D(500), time_in_force=TimeInForce.IOC)
    await desk.exchange.place(twin)

    async def blocked() -> Any:
        return await desk.rows("SELECT 1 FROM account_leases WHERE state = 'blocked'")

    await until(blocked)
    trades = await desk.rows("SELECT deployment, quantity FROM fills")
    assert [(row["deployment"], row["quantity"]) for row in trades] == [(None, D("0.01"))]  # booked, to the account
    halt = (await desk.rows("SELECT * FROM halts"))[0]
    assert (halt["code"], halt["state"]) == ("contradiction", "halted")
    await desk.cancel("c", ident)
    await desk.order(ident, "cancelled")


# -- amending -----------------------------------------------------------------------------------------------------


async def test_an_amendment_changes_the_order_and_what_it_holds(desk: Desk) -> None:
    ident = await resting(desk)
    answer = await desk.amend("a", ident, quantity="0.15", price="39000")
    assert (answer["kind"], answer["state"]) == ("amend", "working")
    assert (await desk.concluded("a"))["decisions"][-1]["code"] == "amended"
    order = await desk.order(ident)
    assert (order["state"], order["quantity"], order["price"], order["reserved"]) == ("open", D("0.15"), 39000, 5850)
    await desk.check()
    await desk.amend("b", ident, quantity="0.05")
    await desk.concluded("b")
    assert (await desk.order(ident))["reserved"] == 1950
    assert await desk.amend("b", ident, quantity="0.05") == {
        "key": "b", "kind": "amend", "state": "done", "decisions": (await desk.concluded("b"))["decisions"],
        "orders": [ident],
    }  # fmt: skip
    await desk.check()


async def test_an_amendment_of_a_partly_filled_order_counts_what_is_filled(desk: Desk, venue: PaperVenue) -> None:
    ident = await resting(desk)
    venue.move(BTC, D(40_000), D("0.03"))
    venue.move(BTC, D(50_000))

    async def partly() -> Any:
        return (await desk.order(ident))["traded"]

    await until(partly)
    denied = await desk.amend("a", ident, quantity="0.03")
    assert denied["decisions"][0]["code"] == "below_filled"
    await desk.amend("b", ident, quantity="0.05")
    await desk.concluded("b")
    assert (await desk.order(ident))["reserved"] == D("0.02") * 40_000
    venue.move(BTC, D(40_000))
    order = await desk.order(ident, "filled")
    assert (order["traded"], order["quantity"]) == (D("0.05"), D("0.05"))
    await desk.check()


async def test_22_a_lost_answer_to_an_amendment_is_read_from_the_order(faulty: Desk, exchange: FaultyExchange) -> None:
    ident = await resting(faulty)
    exchange.lose_change_answers, exchange.drop_frames = 1, True
    await faulty.amend("a", ident, quantity="0.2", price="30000")
    assert (await faulty.concluded("a"))["decisions"][-1]["code"] == "amended"
    order = await faulty.order(ident)
    assert (order["quantity"], order["price"], order["reserved"]) == (D("0.2"), 30000, 6000)
    assert (len(exchange.amended), order["amend_before"], order["amending"]) == (1, None, None)
    await faulty.check()


async def test_an_amendment_that_never_arrived_holds_the_larger_until_the_fence_has_passed(
    faulty: Desk, exchange: FaultyExchange
) -> None:
    ident = await resting(faulty)
    exchange.lose_changes = 1
    await faulty.amend("a", ident, quantity="0.2")
    row = await faulty.order(ident)
    assert (row["quantity"], row["reserved"]) == (D("0.1"), 8000)
    assert (await faulty.concluded("a"))["decisions"][-1]["code"] == "refused"
    row = await faulty.order(ident)
    assert (row["quantity"], row["reserved"], len(exchange.amended)) == (D("0.1"), 4000, 1)
    await faulty.check()


async def test_an_amendment_beyond_the_cash_is_denied_and_changes_nothing(desk: Desk) -> None:
    ident = await resting(desk)
    denied = await desk.amend("a", ident, quantity="0.3")
    assert [(d["action"], d["code"]) for d in denied["decisions"]] == [("deny", "insufficient_cash")]
    same = await desk.amend("b", ident, quantity="0.1")
    assert same["decisions"][0]["code"] == "no_change"
    with pytest.raises(UsageError, match="venue's step"):
        await desk.amend("c", ident, price="40000.05")
    assert (await desk.order(ident))["reserved"] == 4000
    await desk.check()


async def test_an_amendment_through_the_market_fills(desk: Desk) -> None:
    ident = await resting(desk, quantity="0.1")
    await desk.amend("a", ident, price="60000")
    order = await desk.order(ident, "filled")
    assert (order["spent"], order["reserved"]) == (D(5000), 0)
    await desk.concluded("a")
    await desk.check()


async def test_a_halt_holds_an_amendment_back_but_not_a_cancel(faulty: Desk, exchange: FaultyExchange) -> None:
    ident = await resting(faulty)
    halt = {"scope": "account", "name": "main", "code": "kill", "state": "reducing", "reason": "x", "by": "x"}
    halt["at"] = WallClock().now()
    async with faulty.database.begin() as connection:
        await connection.execute(insert(halts).values(halt))
    await faulty.amend("a", ident, quantity="0.2")
    await faulty.cancel("c", ident)
    await faulty.order(ident, "cancelled")
    assert (exchange.amended, len(exchange.cancelled)) == ([], 1)
    assert (await faulty.concluded("a"))["decisions"][-1]["code"] == "too_late"
    await faulty.check()


# -- after a restart ----------------------------------------------------------------------------------------------


async def test_a_cancel_that_was_stored_goes_on_after_a_restart(faulty: Desk, exchange: FaultyExchange) -> None:
    ident = await resting(faulty)
    exchange.lose_changes = 10_000
    await faulty.cancel("c", ident)
    await faulty.order(ident, "pending_cancel")
    await faulty.restart()
    assert (await faulty.order(ident))["state"] == "pending_cancel"
    exchange.lose_changes = 0
    await faulty.order(ident, "cancelled")
    assert (await faulty.concluded("c"))["decisions"][0]["code"] == "cancelled"
    await faulty.engine.ready("main")
    await faulty.check()


async def test_an_amendment_without_an_answer_is_read_after_a_restart(faulty: Desk, exchange: FaultyExchange) -> None:
    ident = await resting(faulty)
    exchange.lose_change_answers, exchange.drop_frames, exchange.break_reads = 1, True, 10_000
    await faulty.amend("a", ident, quantity="0.2")
    await faulty.engine.stop()
    row = await faulty.order(ident)
    assert (row["amending"], row["reserved"]) == ({"quantity": "0.2", "price": "40000"}, 8000)
    exchange.break_reads = 0
    await faulty.restart()
    assert (await faulty.concluded("a"))["decisions"][-1]["code"] == "amended"
    assert ((await faulty.order(ident))["quantity"], len(exchange.amended)) == (D("0.2"), 1)
    await faulty.engine.ready("main")
    await faulty.check()


async def test_resting_orders_and_their_keys_outlive_a_restart(desk: Desk, venue: PaperVenue) -> None:
    ident = await resting(desk)
    await desk.restart()
    await desk.engine.ready("main")
    assert (await desk.place("bid", **BID))["orders"] == [ident]
    await desk.submit(1, {ETH: 1.0})
    assert D((await desk.processed(1))["cash"]) == 4000
    venue.move(BTC, D(40_000))
    await desk.order(ident, "filled")
    await desk.check()


async def test_more_filled_than_was_ordered_is_booked_and_stops_the_account(
    desk: Desk, paper_account: PaperAccount
) -> None:
    """A venue that fills beyond the quantity: the money is booked, to the account itself, and nothing more is sent."""
    ident = await resting(desk)
    row = await desk.order(ident)
    placed = paper_account.placed[row["exchange_order_id"]]
    trade = Trade("9999", placed.match.id, ident, BTC, Side.BUY, D(40_000), D("0.2"), D(0), "BTC", WallClock().now())
    paper_account.traded(replace(placed, reserved=D(8000)), trade)

    async def blocked() -> Any:
        return await desk.rows("SELECT 1 FROM account_leases WHERE state = 'blocked'")

    await until(blocked)
    fills = await desk.rows("SELECT deployment, quantity FROM fills")
    assert [(row["deployment"], row["quantity"]) for row in fills] == [(None, D("0.2"))]
    assert (await desk.order(ident))["traded"] == 0
