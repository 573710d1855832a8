"""How orders end: cancelled in time or too late, amended, or by their own time in force; and what is booked then."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.faults.scenarios.bench import BTC, LIMIT, Bench, plain
from tests.integration.trading.conftest import until

pytestmark = pytest.mark.faults


async def test_scenario_18_cancelled_after_a_partial_fill(bench: Bench) -> None:
    """An order is filled in part and then cancelled.

    CANCELLED with what was filled; the rest of its reservation is free again, the filled part is booked.
    """
    ident = await bench.resting_order()
    bench.move(45_000, "0.004")
    await bench.happened("SELECT 1 FROM orders WHERE traded = 0.004")
    bench.move(50_000)
    assert (await bench.order(ident))["reserved"] == Decimal("0.006") * 45_000
    await bench.cancel("c", ident)
    order = await bench.order(ident, "cancelled")
    book = (await bench.rows("SELECT cash, reserved FROM books"))[0]
    assert (order["reserved"], book["cash"], book["reserved"]) == (0, 10_000 - Decimal("0.004") * 45_000, 0)
    await bench.at_rest()
    bench.scenario.seen(
        f"{await bench.path(ident)} with {plain(order['traded'])} of {plain(order['quantity'])} BTC filled; "
        f"{plain(book['cash'])} USDT free, {plain(book['reserved'])} reserved."
    )


async def test_scenario_19_cancelled_too_late(bench: Bench) -> None:
    """A cancel is under way when the order fills completely, and no frame tells of it.

    The venue's "no such order" proves nothing: the order is read, FILLED, and the cancel was too late.
    """
    ident = await bench.resting_order()
    bench.silence()
    bench.fault("late_request", what="cancel", seconds=0.5)
    await bench.cancel("c", ident)
    bench.move(45_000)
    order = await bench.order(ident, "filled")
    command = await bench.concluded("c")
    (write,) = bench.writes("cancel")
    assert (command["decisions"][-1]["code"], write.effect) == ("too_late", False)
    await bench.at_rest()
    bench.scenario.seen(
        f"The venue said {write.label}; {await bench.path(ident)}, {plain(order['traded'])} BTC booked; "
        f"the cancel ended as {command['decisions'][-1]['code']}."
    )


async def test_scenario_20_a_cancel_times_out(bench: Bench) -> None:
    """A cancel times out and never reached the venue.

    PENDING_CANCEL; the order is read, still rests, and is cancelled once more.
    """
    ident = await bench.resting_order()
    bench.fault("no_answer", what="cancel", done=False)
    await bench.cancel("c", ident)
    await bench.reached(ident, "pending_cancel")
    await bench.order(ident, "cancelled")
    assert (await bench.concluded("c"))["decisions"][-1]["code"] == "cancelled"
    effects = [write.effect for write in bench.writes("cancel")]
    assert effects == [False, True]  # the first one arrived and did nothing
    await bench.at_rest()
    bench.scenario.seen(f"{await bench.path(ident)}; the second cancel reached the venue, {bench.resting()} rest.")


async def test_scenario_21_a_cancel_of_what_was_never_confirmed(bench: Bench) -> None:
    """A cancel of an order whose placement was lost is answered with "no such order".

    Still UNKNOWN: the order may be under way. Only its absence behind the fence ends it.
    """
    bench.fault("no_answer", what="place", done=False)
    ident = await bench.placed()
    await bench.cancel("c", ident)
    await bench.reached(ident, "unknown")

    async def refused() -> bool:
        return any(write.label for write in bench.writes("cancel"))

    await until(refused)
    assert (await bench.order(ident))["state"] == "unknown"
    label = bench.writes("cancel")[0].label
    order = await bench.order(ident, "not_placed")
    assert len(order["evidence"]["scans"]) == 2
    assert bench.venue_orders() == 0
    await bench.at_rest()
    bench.scenario.seen(f"The venue said {label}, the order stayed unknown; then {await bench.path(ident)}.")


async def test_scenario_22_the_answer_to_an_amendment_is_lost(bench: Bench) -> None:
    """An amendment is done, its answer is lost, and no frame tells of it.

    The order is read; quantity, price and reservation follow the venue.
    """
    ident = await bench.resting_order()
    bench.silence()
    bench.fault("no_answer", what="amend")
    await bench.amend("a", ident, quantity="0.02", price="44000")
    command = await bench.concluded("a")
    order = await bench.order(ident)
    assert command["decisions"][-1]["code"] == "amended"
    assert (order["quantity"], order["price"], order["reserved"]) == (Decimal("0.02"), 44_000, 880)
    assert len(bench.writes("amend")) == 1
    bench.heal()
    await bench.cancel("c", ident)
    await bench.order(ident, "cancelled")
    await bench.at_rest()
    bench.scenario.seen(
        f"Sent once, read back: {plain(order['quantity'])} BTC at {plain(order['price'])}, "
        f"{plain(order['reserved'])} USDT reserved."
    )


async def test_scenario_23_a_post_only_order_would_take(bench: Bench) -> None:
    """A post-only order would trade at once.

    It ends at entry: CANCELLED without a fill, its reservation void.
    """
    ident = await bench.placed(**{**LIMIT, "price": "50500", "time_in_force": "poc"})
    order = await bench.order(ident, "cancelled")
    assert (order["traded"], order["reserved"], await bench.count("fills")) == (0, 0, 0)
    (write,) = bench.writes("place")
    await bench.at_rest()
    bench.scenario.seen(
        f"The venue said {write.label}; {await bench.path(ident)} with {plain(order['traded'])} filled and "
        f"{plain(order['reserved'])} USDT reserved."
    )


async def test_scenario_24_an_ioc_order_fills_in_part(bench: Bench) -> None:
    """An IOC order finds only a part of its quantity.

    CANCELLED with the filled part, not FILLED.
    """
    bench.fault("thin_market", pair="BTC_USDT", amount="0.004")
    ident = await bench.placed(**{**LIMIT, "price": "50500", "time_in_force": "ioc"})
    order = await bench.order(ident, "cancelled")
    assert (order["traded"], order["reserved"]) == (Decimal("0.004"), 0)
    await bench.at_rest()
    bench.scenario.seen(
        f"{await bench.path(ident)} ({order['reason']}) with {plain(order['traded'])} of "
        f"{plain(order['quantity'])} BTC filled."
    )


async def test_scenario_25_a_market_buy_counts_in_quote(bench: Bench) -> None:
    """A market buy is given as a cost, and the venue counts what is left of it in quote currency.

    What is held comes from the trades alone; the order never has a quantity.
    """
    ident = await bench.placed(symbol=BTC, side="buy", cost="500")
    order = await bench.order(ident, "filled")
    held = (await bench.rows("SELECT quantity FROM positions"))[0]["quantity"]
    assert (order["quantity"], order["cost"], order["spent"]) == (None, 500, 500)
    assert (order["traded"], held) == (Decimal("0.01"), Decimal("0.00999"))
    await bench.at_rest()
    bench.scenario.seen(
        f"{await bench.path(ident)}: {plain(order['spent'])} USDT spent, {plain(order['traded'])} BTC traded, "
        f"{plain(held)} held."
    )


async def test_scenario_26_the_fee_is_taken_from_what_was_bought(bench: Bench) -> None:
    """The fee of a buy is taken in the base currency.

    The position is the quantity less the fee, and is what the venue shows, to the last digit.
    """
    before = (await bench.exchange.balances())["BTC"].total
    ident = await bench.placed(symbol=BTC, side="buy", cost="1234.5")
    order = await bench.order(ident, "filled")
    fee = Decimal(order["fees"]["BTC"])
    held = (await bench.rows("SELECT quantity FROM positions"))[0]["quantity"]
    gained = (await bench.exchange.balances())["BTC"].total - before
    assert held == order["traded"] - fee == gained
    assert fee > 0
    await bench.at_rest()
    bench.scenario.seen(
        f"{plain(order['traded'])} BTC bought, {plain(fee)} of it the fee, {plain(held)} held; "
        f"the venue shows {plain(gained)} more."
    )
