"""Clocks that are wrong: the venue's, and ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import WallClock
from cashup.exchanges.gate import Credentials, GateExchange
from cashup.trading.engine import Engine
from cashup.types import Millis
from tests.faults.scenarios.bench import LIMIT, PATIENCE, TIMEOUT, Bench, open_bench
from tests.faults.scenarios.report import Scenario
from tests.integration.trading.conftest import until

pytestmark = pytest.mark.faults

JUMP: Millis = 5_000


class WrongClock:
    """The machine's clock, off by `by` milliseconds."""

    by: Millis = 0

    def now(self) -> Millis:
        return WallClock().now() + self.by


@pytest.fixture
async def wrong(database: AsyncEngine, scenario: Scenario) -> AsyncIterator[tuple[Bench, WrongClock]]:
    """A bench whose gateway has a clock that can be set."""
    clock = WrongClock()
    async with open_bench(database, scenario, replace(PATIENCE, countdown=0)) as bench:
        await bench.engine.stop()
        keys = Credentials(bench.account.key, bench.account.secret)
        bench.exchange = GateExchange(keys, base_url=bench.simulator.url, timeout=TIMEOUT, clock=clock)
        bench.engine = Engine(database, clock, bench.marks, bench._connect, patience=bench.patience)
        await bench.engine.start()
        await bench.engine.ready("main")
        yield bench, clock


@pytest.fixture
async def patient(database: AsyncEngine, scenario: Scenario) -> AsyncIterator[Bench]:
    """A bench without a countdown, which would go off when the venue's clock jumps."""
    async with open_bench(database, scenario, replace(PATIENCE, countdown=0)) as bench:
        yield bench


async def test_scenario_49_the_venues_clock_is_a_minute_ahead(patient: Bench) -> None:
    """The venue's clock is 61 s ahead of ours.

    The order that finds it out is refused (REQUEST_EXPIRED) and REJECTED; nothing more is sent, neither an order nor an
    amendment, until the clocks are less than 500 ms apart again.
    """
    bench = patient
    resting = await bench.resting_order()
    bench.fault("clock_skew", milliseconds=61_000)
    refused = await bench.placed()
    order = await bench.order(refused, "rejected")
    write = bench.writes("place")[-1]
    waiting = await bench.placed()
    asked = await bench.amend("a", resting, price="44000")
    assert asked["state"] == "working", asked["decisions"]

    async def looked() -> bool:
        return bench.exchange.admit(LIMIT["symbol"], waiting) > 0

    await until(looked)
    state, sent = (await bench.order(waiting))["state"], len(bench.writes("place"))
    unclaimed = await bench.order(resting)
    amends = len(bench.writes("amend"))
    bench.heal()
    await bench.order(waiting, "open")
    assert (await bench.concluded("a"))["decisions"][-1]["code"] == "amended"
    assert (write.label, state, sent) == ("REQUEST_EXPIRED", "pending_send", 2)
    assert (unclaimed["amending"] is None, unclaimed["amend_before"], amends) == (False, None, 0)
    assert (await bench.order(resting))["price"] == 44_000
    for ident in (waiting, resting):
        await bench.cancel(f"c {ident}", ident)
        await bench.order(ident, "cancelled")
    await bench.at_rest()
    bench.scenario.seen(
        f"The venue said {write.label}: {order['state']}; the next order stayed {state}, an amendment unclaimed, with "
        "nothing sent, and both went out when the clocks agreed."
    )


async def test_scenario_50_our_clock_jumps_back(wrong: tuple[Bench, WrongClock]) -> None:
    """Our clock jumps back by 5 s.

    Seen by a clock that does not jump: no order is sent with a fence that has passed already, or that lies too far
    ahead, until our clock is right again.
    """
    bench, clock = wrong
    clock.by = -JUMP
    early = await bench.placed()
    await bench.happened("SELECT 1 FROM orders WHERE state = 'pending_send'")
    back = (await bench.order(early))["state"]
    clock.by = JUMP
    await bench.engine.ready("main")
    ahead, sent = (await bench.order(early))["state"], len(bench.writes("place"))
    clock.by = 0
    await bench.order(early, "open")
    (write,) = bench.writes("place")
    leads = int(write.fence or 0) - write.received_at
    assert (back, ahead, sent) == ("pending_send", "pending_send", 0)
    assert 0 < leads <= PATIENCE.fence
    await bench.cancel("c", early)
    await bench.order(early, "cancelled")
    await bench.at_rest()
    bench.scenario.seen(
        f"5 s behind: {back}; 5 s ahead: {ahead}; {sent} sent. With the right time it was sent, its fence ahead by no "
        f"more than the {PATIENCE.fence / 1000:g} s it has."
    )
