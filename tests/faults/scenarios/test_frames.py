"""Frames that come again, late, out of order or not at all: what is booked is booked once."""

from __future__ import annotations

import pytest

from tests.faults.scenarios.bench import CROSSING, Bench, plain

pytestmark = pytest.mark.faults

TRADES, ORDERS = "spot.usertrades", "spot.orders"


async def _inbox(bench: Bench, channel: str, count: int) -> None:
    """So many different frames of a channel have arrived and were acted on."""
    arrived = "SELECT 1 FROM inbox WHERE channel = :channel AND applied OFFSET :before"
    await bench.happened(arrived, channel=channel, before=count - 1)


async def _booked_once(bench: Bench, ident: str) -> str:
    """One order, one fill, one transaction of the ledger for it."""
    order = await bench.order(ident, "filled")
    booked = await bench.count("(SELECT DISTINCT transaction FROM ledger_entries WHERE cause LIKE 'trade:%') AS t")
    assert (await bench.count("fills"), booked) == (1, 1)
    await bench.at_rest()
    return f"{await bench.path(ident)}; {plain(order['traded'])} BTC in 1 fill, 1 transaction"


async def test_scenario_13_the_same_trade_three_times(bench: Bench) -> None:
    """The frame of a trade comes three times.

    Booked once.
    """
    fault = bench.fault("duplicated_frame", channel=TRADES, times=3)
    ident = await bench.placed(**CROSSING)
    await _inbox(bench, TRADES, 1)
    said = await _booked_once(bench, ident)
    assert fault.struck == 1
    assert await bench.count("inbox", f"channel = '{TRADES}'") == 1
    bench.scenario.seen(f"{said}; 1 frame in the inbox.")


async def test_scenario_14_the_same_trade_by_frame_and_by_rest(bench: Bench) -> None:
    """A trade is read over REST, and its frame comes after that.

    The same trade by the same id: booked once.
    """
    bench.fault("late_frame", channel=TRADES, seconds=0.7)
    ident = await bench.placed(**CROSSING)
    order = await bench.order(ident, "filled")
    assert order["traded"] > 0
    assert await bench.count("inbox", f"channel = '{TRADES}'") == 0
    (row,) = await bench.rows("SELECT cause FROM order_events WHERE event = 'traded'")
    await _inbox(bench, TRADES, 1)
    bench.scenario.seen(f"{await _booked_once(bench, ident)}, learnt by {row['cause']}; then its frame came.")


async def test_scenario_15_the_end_before_the_fills(bench: Bench) -> None:
    """The frame that an order has ended comes, and the frames of its fills never do.

    FILLED as the frame says, its money held until its trades were read; they are booked once.
    """
    ident = await bench.resting_order()
    bench.fault("missing_frame", channel=TRADES, count=None)
    bench.move(45_000)
    said = await _booked_once(bench, ident)
    ended, traded = await bench.rows(
        "SELECT cause, to_state FROM order_events WHERE event IN ('reported', 'traded') AND to_state = 'filled' "
        "ORDER BY id LIMIT 2"
    )
    assert (ended["cause"], traded["cause"]) == ("stream", "search")
    bench.scenario.seen(f"{said}: the end by {ended['cause']}, the trade by {traded['cause']}.")


async def test_scenario_16_an_older_frame_after_a_newer_one(bench: Bench) -> None:
    """The frame of a partial fill comes after the frame of the complete one.

    The older one changes nothing: what is filled never falls.
    """
    ident = await bench.resting_order()
    bench.fault("late_frame", channel=ORDERS, seconds=0.7)
    bench.move(45_000, "0.004")
    await bench.happened("SELECT 1 FROM orders WHERE traded = 0.004")
    bench.move(45_000)
    await bench.order(ident, "filled")
    before = await bench.count("inbox", f"channel = '{ORDERS}'")
    assert await bench.checker.check_always() == []
    await _inbox(bench, ORDERS, before + 1)
    order = await bench.order(ident)
    assert (order["state"], await bench.count("fills")) == ("filled", 2)
    await bench.at_rest()
    bench.scenario.seen(
        f"{await bench.path(ident)}; {plain(order['traded'])} BTC filled in 2 fills, before and after the older frame."
    )
