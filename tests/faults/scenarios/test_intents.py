"""What workers and people ask for twice, too often, with other words or in numbers that are none."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from cashup.clock import WallClock
from cashup.errors import Conflict, TooManyRequests, UsageError
from cashup.trading.funding import Funding
from cashup.trading.intents import parse_request
from cashup.trading.quota import AT_ONCE, PER_SECOND
from tests.faults.scenarios.bench import BTC, LIMIT, Bench
from tests.integration.trading.conftest import ETH, deploy

pytestmark = pytest.mark.faults

NONE_OF_THESE = [
    "NaN",
    "-1",
    "0",
    "1E+5",
    "1e-9",
    "1." + "0" * 40,
    "12345678901234567890123456789012345678901",
    "",
    1.5,
]
"""No amount of an order: not a number, not above zero, with an exponent, too long, a float."""


async def _finish(bench: Bench, *orders: str) -> None:
    """Cancel what rests, and look at everything."""
    for order in orders:
        await bench.cancel(f"end-{order}", order)
        await bench.order(order, "cancelled")
    await bench.at_rest()


async def test_scenario_51_an_intent_is_sent_again(bench: Bench) -> None:
    """A worker that was disconnected sends an intent again, with its key.

    It gets the answer that is stored; there is no second order.
    """
    first = await bench.submit(1, {BTC: 0.5})
    await bench.processed(1)
    again = await bench.submit(1, {BTC: 0.5})
    orders, sent = await bench.count("orders"), len(bench.writes("place"))
    assert (again["key"], again["orders"], orders, sent) == (first["key"], first["orders"], 1, 1)
    await bench.at_rest()
    bench.scenario.seen(f"The answer named the same order; {orders} order, sent {sent} time.")


async def test_scenario_52_a_key_with_another_body(bench: Bench) -> None:
    """An intent comes with a key that was used for another quantity.

    409, and a row in the audit trail; nothing is made or sent.
    """
    ident = await bench.place("once", **LIMIT)
    with pytest.raises(Conflict) as order:
        await bench.place("once", **{**LIMIT, "quantity": "0.02"})
    await bench.submit(1, {BTC: None})
    with pytest.raises(Conflict) as target:
        await bench.submit(1, {BTC: 0.5})
    rows = await bench.rows("SELECT subject, object FROM audit WHERE action = 'intent.conflict' ORDER BY id")
    assert [tuple(row.values()) for row in rows] == [("ann", "demo/once"), ("attempt 1 of demo", "demo/1")]
    assert await bench.count("orders") == 1
    await bench.order(ident["orders"][0], "open")
    await _finish(bench, *ident["orders"])
    bench.scenario.seen(
        f"An order and a target were refused with {order.value.status} and {target.value.status}, each with a row in "
        "the audit trail; the first order stayed the only one."
    )


async def test_scenario_53_a_worker_floods(bench: Bench) -> None:
    """A worker sends 500 intents at once while another one trades.

    Those above its quota are refused; the other one is served, and no limit of the venue is touched.
    """
    await deploy(bench.database, "calm")
    await bench.engine.fund("main", Funding("calm", Decimal(5_000), "USDT", {}))
    began = WallClock().now()
    flood = [asyncio.create_task(bench.submit(bar, {BTC: 0.5 if bar // 40 % 2 else 0.0})) for bar in range(1, 501)]
    await asyncio.sleep(0)  # each of them has asked
    regained = PER_SECOND * (WallClock().now() - began) // 1000 + 1
    await bench.engine.submit("calm", 1, parse_request("1", 1, {ETH: 0.5}))
    await bench.processed(1, "calm")
    answers = await asyncio.gather(*flood, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, TooManyRequests)]
    assert 500 - AT_ONCE - regained <= len(refused) <= 500 - AT_ONCE
    assert bench.simulator.limits.violations == 0
    await bench.happened("SELECT 1 FROM intents HAVING bool_and(finished_at IS NOT NULL)")
    await bench.at_rest()
    bench.scenario.seen(
        f"What was above {AT_ONCE} at once was refused ({refused[0].code}); the other worker's bar was processed; the "
        f"venue counted {bench.simulator.limits.violations} requests above its limits."
    )


async def test_scenario_58_numbers_that_are_none(bench: Bench) -> None:
    """NaN, negative numbers, exponents, 40 digits and floats stand where an amount belongs.

    422, and nothing is stored.
    """
    codes = set()
    for amount in NONE_OF_THESE:
        for field in ("quantity", "price"):
            with pytest.raises(UsageError) as refused:
                await bench.place("bad", **{**LIMIT, field: amount})
            codes.add(refused.value.status)
    for target in (float("nan"), float("inf"), "half", [0.5]):
        with pytest.raises(UsageError) as refused:
            await bench.submit(1, {BTC: target})
        codes.add(refused.value.status)
    stored = await bench.count("intents"), await bench.count("orders"), len(bench.writes("place"))
    assert stored == (0, 0, 0)
    await bench.at_rest()
    bench.scenario.seen(
        f"{2 * len(NONE_OF_THESE) + 4} intents were refused with {', '.join(map(str, sorted(codes)))}; {stored[0]} "
        f"intents and {stored[1]} orders are stored, {stored[2]} were sent."
    )
