"""The kill switch and the dead man's switch, when the venue does not do its part."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import WallClock
from cashup.trading.halts import Scope
from cashup.trading.kill import Kill
from tests.faults.scenarios.bench import BTC, LIMIT, PATIENCE, Bench, open_bench
from tests.faults.scenarios.report import Scenario
from tests.integration.trading.conftest import ETH, until

pytestmark = pytest.mark.faults

MAIN = Kill(Scope.ACCOUNT, "main")
ETHER = {"symbol": ETH, "side": "buy", "quantity": "0.01", "price": "1900"}


@pytest.fixture
async def counting(database: AsyncEngine, scenario: Scenario) -> AsyncIterator[Bench]:
    """A bench whose dead man's switch goes off after five seconds, the shortest time that Gate knows."""
    async with open_bench(database, scenario, replace(PATIENCE, refresh=200, countdown=5)) as bench:
        yield bench


async def _markets(bench: Bench) -> dict[str, dict[str, object]]:
    """How far the kill is, by market."""
    (account,) = (await bench.switch().state(Scope.ACCOUNT, "main"))["accounts"]
    return dict(account["markets"])


async def _swept(bench: Bench) -> None:
    async def done() -> bool:
        (account,) = (await bench.switch().state(Scope.ACCOUNT, "main"))["accounts"]
        return bool(account["state"] == "done")

    await until(done)


async def _armed(bench: Bench) -> bool:
    return any(write.effect for write in bench.writes("countdown"))


async def test_scenario_46_the_countdown_is_not_refreshed(counting: Bench) -> None:
    """Three refreshes of the countdown fail in a row while an order rests.

    Nothing is added any more, because orders may have been cancelled; once the venue answers, they are read again,
    and then trading goes on.
    """
    ident = await counting.resting_order()
    counting.fault("error_before", what="countdown", count=None)
    (halt,) = await counting.happened("SELECT state FROM halts WHERE code = 'countdown'")
    more = await counting.place("more", **LIMIT)
    sent = len(counting.writes("place"))
    await asyncio.sleep(0.5)
    assert len(counting.writes("place")) == sent == 1
    # refused as it came, or held back when its turn came: the engine looks at halts now and then, the claim always
    held = (await counting.order(more["orders"][0])) if more["orders"] else more["decisions"][-1]
    counting.heal()

    async def lifted() -> bool:
        return not await counting.rows("SELECT 1 FROM halts")

    await until(lifted)
    assert (await counting.order(ident))["state"] == ("open" if counting.resting() else "cancelled")

    async def taken() -> list[str]:
        return list((await counting.place(f"again-{WallClock().now()}", **LIMIT))["orders"])

    (again,) = await until(taken)
    await counting.order(again, "open")
    for name in (ident, again):
        await counting.cancel(f"end-{name}", name)
        await counting.order(name, "cancelled")
    await counting.at_rest()
    counting.scenario.seen(
        f"The account was {halt['state']}, an order was not sent ({held['reason']}); after the venue "
        "answered and the orders were read, the next order went out."
    )


async def test_scenario_47_killed_with_orders_in_flight(bench: Bench) -> None:
    """The account is killed while 20 placements are in flight: half of them rest, half never arrived, none is answered.

    Nothing new is sent. Those whose fate is unknown are resolved and then cancelled; in the end none rests.
    """
    bench.silence()
    there = bench.fault("no_answer", what="place", count=10)
    lost = bench.fault("no_answer", what="place", count=10, done=False)
    await asyncio.gather(
        *(bench.place(f"{order['symbol']}-{n}", **order) for n in range(10) for order in (LIMIT, ETHER))
    )

    async def in_flight() -> bool:
        return there.struck + lost.struck == 20

    await until(in_flight)
    await bench.switch().kill(MAIN, by="ann")
    await bench.place("after", **LIMIT)
    await _swept(bench)
    await bench.happened("SELECT 1 FROM orders WHERE claimed_at IS NOT NULL HAVING bool_and(reserved = 0)")
    rows = await bench.rows(
        "SELECT state, count(*) AS n FROM orders WHERE claimed_at IS NOT NULL GROUP BY 1 ORDER BY 1"
    )
    ended = {row["state"]: row["n"] for row in rows}
    assert ended == {"cancelled": 10, "not_placed": 10}
    assert (bench.resting(), bench.venue_orders(), await bench.count("orders", "claimed_at IS NOT NULL")) == (0, 10, 20)
    bench.heal()
    await bench.at_rest()
    bench.scenario.seen(
        f"{ended['cancelled']} cancelled, {ended['not_placed']} not placed; 20 orders were claimed before the kill, "
        f"0 after it; {bench.resting()} rest."
    )


async def test_scenario_48_one_market_is_not_cancelled(bench: Bench) -> None:
    """The account is killed, and the venue answers 5xx to the cancel of one market.

    Tried again and reported for that market; the kill stands over a restart, and in the end none rests.
    """
    for order in (LIMIT, ETHER):
        await bench.resting_order(**order)
    bench.fault("error_before", what="cancel", pair="ETH_USDT", count=None)
    await bench.switch().kill(MAIN, by="ann")

    async def reported() -> bool:
        markets = await _markets(bench)
        return bool(markets.get(ETH, {}).get("error")) and markets.get(BTC, {}).get("open") == 0

    await until(reported)
    error = (await _markets(bench))[ETH]["error"]
    await bench.restart()
    (halt,) = await bench.rows("SELECT code, state FROM halts")
    left = bench.resting()
    bench.heal()
    await _swept(bench)
    await bench.happened("SELECT 1 FROM orders HAVING bool_and(state = 'cancelled' AND reserved = 0)")
    assert (left, bench.resting(), "HTTP 500" in str(error)) == (1, 0, True)
    assert {market["error"] for market in (await _markets(bench)).values()} == {""}
    await bench.at_rest()
    bench.scenario.seen(
        f"BTC/USDT was cancelled, ETH/USDT reported “{error}”; after a restart still {halt['state']} by "
        f"{halt['code']}; when the venue answered {bench.resting()} rested."
    )
