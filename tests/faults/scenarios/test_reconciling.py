"""What happened while nobody listened, or somebody else traded: read, booked once, and never concluded from half."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import WallClock
from cashup.strategies.limits import Limits
from cashup.trading.halts import Halts, Scope
from cashup.trading.kill import Kill
from cashup.trading.risk_limits import RiskLimits
from tests.faults.scenarios.bench import BTC, LIMIT, PATIENCE, Bench, open_bench, plain
from tests.faults.scenarios.report import Scenario
from tests.integration.trading.conftest import until

pytestmark = pytest.mark.faults

FILLS = 40
PAGE = "spot/orders"


@pytest.fixture
async def comparing(database: AsyncEngine, scenario: Scenario) -> AsyncIterator[Bench]:
    """A bench that compares venue and books while it trades, all the time."""
    async with open_bench(database, scenario, replace(PATIENCE, survey=300, quiet=100)) as bench:
        yield bench


def _manual(bench: Bench, price: str) -> None:
    bench.fault("manual_order", account="main", pair="BTC_USDT", amount="0.01", price=price)


async def _swept(bench: Bench, kill: Kill) -> None:
    switch = bench.switch()
    await switch.kill(kill, by="root")

    async def done() -> bool:
        accounts = (await switch.state(kill.scope, kill.name))["accounts"]
        return all(account["state"] == "done" for account in accounts)

    await until(done)


async def test_scenario_29_an_order_from_the_web_site(bench: Bench) -> None:
    """The owner of the account places an order at the venue's web site.

    Adopted as EXTERNAL and counted by the account's limits; never cancelled, unless everything is killed with it.
    """
    limits = RiskLimits(bench.database, WallClock(), Halts(bench.database, WallClock()))
    await limits.put(Scope.ACCOUNT, "main", Limits(max_open_orders=2), by="ann")
    ours = await bench.resting_order()
    _manual(bench, "20000")
    (theirs,) = await bench.happened("SELECT origin, state, deployment FROM orders WHERE origin = 'external'")
    assert (theirs["state"], theirs["deployment"]) == ("open", None)
    await asyncio.sleep(1.1)  # longer than limits are remembered
    denied = await bench.place("third", **LIMIT)
    assert denied["decisions"][0]["code"] == "max_open_orders"
    await _swept(bench, Kill(Scope.ACCOUNT, "main"))
    await bench.order(ours, "cancelled")
    kept = bench.resting()
    await _swept(bench, Kill(Scope.ALL, external=True))
    await bench.happened("SELECT 1 FROM orders WHERE origin = 'external' AND state = 'cancelled'")
    assert (kept, bench.resting()) == (1, 0)
    await bench.at_rest()
    bench.scenario.seen(
        f"{theirs['origin']}, {theirs['state']}; a third order was denied ({denied['decisions'][0]['code']}: 2); "
        f"a kill of the account left {kept}, a kill of everything with other people's orders {bench.resting()}."
    )


async def _while_away(bench: Bench) -> str:
    """The stream is gone while an order fills in 40 trades. The order."""
    ident = await bench.resting_order(**{**LIMIT, "quantity": "0.04"})
    bench.fault("error_before", what="connect", count=None, status=503)
    bench.fault("disconnect")
    for _ in range(FILLS):
        bench.move(45_000, "0.001")
    await asyncio.sleep(0.5)
    assert await bench.count("fills") == 0
    return ident


async def _all_booked(bench: Bench, ident: str) -> str:
    order = await bench.order(ident, "filled")
    booked = [int(row["trade_id"]) for row in await bench.rows("SELECT trade_id FROM fills ORDER BY id")]
    assert len(booked) == FILLS
    assert booked == sorted(booked)
    await bench.engine.ready("main")
    await bench.at_rest()
    return f"{len(booked)} fills of {plain(order['traded'])} BTC booked, in order of the trades"


async def test_scenario_31_fills_while_the_stream_is_gone(bench: Bench) -> None:
    """The WebSocket is gone and cannot be had again, and meanwhile there are 40 fills.

    Read from the last watermark on, less 60 s: all 40 are booked, in the order of the trades.
    """
    ident = await _while_away(bench)
    bench.heal()
    bench.scenario.seen(f"{await _all_booked(bench, ident)}.")


async def test_scenario_32_another_break_while_it_is_read(bench: Bench) -> None:
    """The WebSocket breaks once more while what was missed is read.

    It is read again and comes to the same.
    """
    ident = await _while_away(bench)
    bench.heal()
    reading = bench.fault("late_answer", path="/spot/my_trades", seconds=0.7)

    async def struck() -> bool:
        return reading.struck > 0

    await until(struck)
    bench.fault("disconnect")
    bench.scenario.seen(f"{await _all_booked(bench, ident)}, each once.")


async def test_scenario_34_a_page_of_a_list_fails(bench: Bench) -> None:
    """The fate of an order is unknown, and the venue's list of 250 finished orders fails on its second page.

    Such a scan proves nothing: no absence is concluded from it. Later ones are complete and prove it.
    """
    await bench.engine.stop()
    for _ in range(250):
        _manual(bench, "20000")
        bench.fault("order_ended", account="main")
    await bench.restart()
    await bench.engine.ready("main")
    failing = bench.fault("failing_page", path="/spot/orders", page="2", count=None)
    bench.fault("no_answer", what="place", done=False)
    ident = await bench.placed()
    await bench.reached(ident, "unknown")
    dead = (await bench.order(ident))["send_before"] + PATIENCE.margin

    async def behind_its_fence() -> bool:
        strikes = [row for row in bench.simulator.faults.struck if row["fault"] == failing.id]
        return sum(row["at"] > dead for row in strikes) >= 3

    await until(behind_its_fence)
    state = (await bench.order(ident))["state"]
    healed = WallClock().now()
    bench.heal()
    order = await bench.order(ident, "not_placed")
    assert state == "unknown"
    assert order["evidence"]["scans"][0] >= healed - 1_000
    await bench.at_rest()
    bench.scenario.seen(
        f"Still {state} after 3 scans behind the fence that failed on page 2; {order['state']} after "
        f"{len(order['evidence']['scans'])} that read all 3 pages."
    )


async def test_scenario_35_balances_that_are_old(comparing: Bench) -> None:
    """The venue shows balances of 30 s ago, after a fill.

    No difference: they are older than the fill. Nothing is corrected, nothing is sent.
    """
    stale = comparing.fault("stale_read", path="/spot/accounts", seconds=30.0)
    before = (await comparing.exchange.balances())["BTC"].total
    ident = await comparing.placed(symbol=BTC, side="buy", cost="500")
    await comparing.order(ident, "filled")
    told = stale.struck

    async def compared() -> bool:
        return stale.struck >= told + 6

    await until(compared)
    shown = (await comparing.exchange.balances())["BTC"].total
    state, _ = await comparing.account_state()
    held = (await comparing.rows("SELECT quantity FROM positions"))[0]["quantity"]
    states = await comparing.count("outbox", "kind = 'account_changed' AND data->>'state' = 'blocked'")
    assert (shown, state, states, held) == (before, "ready", 0, Decimal("0.00999"))
    assert len(comparing.writes("place")) == 1
    comparing.heal()
    await comparing.at_rest()
    comparing.scenario.seen(
        f"The venue showed {plain(shown)} BTC, as before the fill; the account stayed {state} with {plain(held)} BTC "
        f"bought, 1 order sent, {states} corrections."
    )
