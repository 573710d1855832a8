"""A venue that is closed, changes its rules, or shows what cannot be."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from tests.faults import rules
from tests.faults.scenarios.bench import CROSSING, LIMIT, Bench, plain
from tests.integration.trading.conftest import until

pytestmark = pytest.mark.faults


async def test_scenario_59_the_tick_changes(bench: Bench) -> None:
    """The venue changes the tick of a market, and nobody was told.

    One order is refused and not repeated; the market's rules are read again, and the next order keeps to them.
    """
    bench.fault("changed_rules", pair="BTC_USDT", tick="1")
    wanted = {**LIMIT, "price": "45000.5"}
    refused = await bench.placed(**wanted)
    order = await bench.order(refused, "rejected")
    (write,) = bench.writes("place")

    async def read_again() -> bool:
        return (await bench.exchange.markets())[LIMIT["symbol"]].tick == 1

    await until(read_again)
    with pytest.raises(Exception, match="not a multiple of the venue's step 1"):
        await bench.placed(**wanted)
    ident = await bench.resting_order()
    await bench.cancel("c", ident)
    await bench.order(ident, "cancelled")
    assert len(bench.writes("place")) == 2
    await bench.at_rest()
    bench.scenario.seen(
        f"The venue said {write.label}: {order['state']}, sent once. Then a price of {wanted['price']} was refused "
        "here as no multiple of 1, and one of 45000 was taken."
    )


async def test_scenario_61_maintenance(bench: Bench) -> None:
    """The venue goes into maintenance right after it took an order: the answer is lost, everything else is 5xx.

    UNKNOWN for as long as it lasts, nothing is added in its symbol, no storm of orders; compared afterwards, then
    trading goes on.
    """
    bench.silence()
    lost = bench.fault("no_answer", what="place")
    ident = await bench.placed()

    async def taken() -> bool:
        return lost.struck == 1

    await until(taken)
    bench.fault("maintenance")
    bench.fault("disconnect")
    await bench.reached(ident, "unknown")
    waiting = asyncio.create_task(bench.place("second", **LIMIT))
    await asyncio.sleep(PAUSE)
    state, sent = (await bench.order(ident))["state"], len(bench.writes("place"))
    bench.heal()
    await bench.order(ident, "open")
    answer = await waiting
    await bench.engine.ready("main")
    then = await bench.resting_order()
    assert (state, sent, bench.venue_orders(ident)) == ("unknown", 1, 1)
    for name in (ident, then, *answer["orders"]):
        await bench.cancel(f"end-{name}", name)
        await bench.order(name, "cancelled")
    await bench.at_rest()
    bench.scenario.seen(
        f"{state} with {sent} order sent while the maintenance lasted; {await bench.path(ident)} (by its owner) after "
        "it, and the next order was taken."
    )


PAUSE = 4.0
"""Seconds of maintenance: longer than the fence."""


async def test_scenario_62_one_client_id_twice(bench: Bench) -> None:
    """The venue makes two orders of one placement, both with our client id, and both fill.

    Seen by the venue's second id: both are booked, and the account is halted until somebody has looked.
    """
    bench.fault("double_effect", what="place")
    ident = await bench.placed(**CROSSING)
    message = await bench.blocked()
    await bench.happened("SELECT 1 FROM fills OFFSET 1")
    fills = await bench.rows("SELECT deployment, quantity FROM fills ORDER BY deployment NULLS LAST")
    (halt,) = await bench.rows("SELECT code, state FROM halts")
    assert [(row["deployment"], row["quantity"]) for row in fills] == [
        ("demo", Decimal("0.01")),
        (None, Decimal("0.01")),
    ]
    assert (halt["code"], halt["state"], bench.venue_orders(ident)) == ("contradiction", "halted", 2)
    assert "two orders" in message
    twice = (rules.i01_each_venue_order_is_one_claim, rules.i05_at_rest_an_order_has_what_the_exchange_filled)
    await bench.at_rest(without=twice)
    bench.scenario.seen(
        f"2 fills of {plain(fills[0]['quantity'])} BTC booked, one to the deployment and one to the account; "
        f"{halt['state']} by {halt['code']}."
    )
