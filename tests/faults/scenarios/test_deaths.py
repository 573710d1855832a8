"""Gateways that die of a signal while another one waits, or while an order rests."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from cashup.clock import WallClock
from cashup.exchanges.base import Exchange
from cashup.trading.commands import By
from cashup.trading.countdown import REASON
from cashup.trading.engine import Engine
from cashup.trading.requests import parse_cancel
from tests.faults.checker import Checker
from tests.faults.crashes.child import PATIENCE
from tests.faults.crashes.stage import KILLED, Stage
from tests.faults.scenarios.report import Scenario
from tests.integration.trading.conftest import Prices, until
from tests.integration.trading.simulated import connection

pytestmark = pytest.mark.faults

LOST = """
    UPDATE account_leases SET fence = fence + 1, holder = 'elsewhere/1/x',
        expires = (extract(epoch FROM clock_timestamp()) * 1000)::bigint + 3600000
    """


def _engine(stage: Stage) -> Engine:
    """A gateway in this process."""

    async def connect(account: str) -> tuple[str, Exchange]:
        return "gate", connection(stage.simulator, stage.account, 10)

    return Engine(stage.database, WallClock(), Prices(), connect, patience=PATIENCE)


async def _at_rest(stage: Stage, scenario: Scenario) -> None:
    await until(partial(stage.holds, "NOT EXISTS (SELECT FROM inbox WHERE NOT applied)"))
    checker = Checker(stage.database, "main", stage.book, secrets=[stage.account.key, stage.account.secret])
    await scenario.at_rest(checker)


def _asked(stage: Stage, what: str) -> int:
    return sum(write.what == what and write.effect for write in stage.simulator.register.writes)


async def _killed(stage: Stage) -> None:
    stage.kill()
    assert await stage.end() == KILLED


async def test_scenario_40_two_gateways_for_one_account(stage: Stage, scenario: Scenario) -> None:
    """A second gateway starts for an account that has one; the first loses its lease unawares, and is killed later.

    One has the lease at a time; what the loser would still send does not pass the claim. The second one takes over.
    """
    await stage.start("insist")
    await stage.simulator_has_orders()
    second = _engine(stage)
    await second.start()
    await stage.sql(LOST)
    await asyncio.sleep(0.5)  # what was claimed before is written
    sent = _asked(stage, "place")
    await asyncio.sleep(1.5)
    unsent = _asked(stage, "place") - sent
    (lost,) = await stage.rows("SELECT holder, fence FROM account_leases")
    await _killed(stage)
    await stage.sql("UPDATE account_leases SET expires = 0")
    await second.ready("main")
    (taken,) = await stage.rows("SELECT holder, fence FROM account_leases")
    for row in await stage.rows("SELECT client_order_id AS id FROM orders WHERE state = 'open'"):
        await second.command("demo", parse_cancel(row["id"], row["id"]), By("ann"))
    await until(partial(stage.holds, "NOT EXISTS (SELECT FROM orders WHERE reserved > 0)"))
    assert (sent > 0, unsent, taken["fence"]) == (True, 0, lost["fence"] + 1)
    await _at_rest(stage, scenario)
    await second.stop()
    scenario.seen(
        f"While the first one had no lease it insisted on orders, and {unsent} were sent. When it was dead the second "
        "one took over with the next fence and ended what rested."
    )


async def test_scenario_45_the_gateway_dies(stage: Stage, scenario: Scenario) -> None:
    """The gateway dies (SIGKILL) while an order rests, and the network is fine.

    The venue's countdown cancels what rests; the next gateway says that it did, and positions are kept.
    """
    await stage.start("hold")
    await until(lambda: _resting(stage), 60)
    before = len(stage.simulator.venue.resting(stage.account))
    await _killed(stage)
    left = len(stage.simulator.venue.resting(stage.account))
    await until(lambda: _none_resting(stage))
    engine = _engine(stage)
    await engine.start()
    await engine.ready("main")
    (order,) = await stage.rows("SELECT state, reason FROM orders WHERE type = 'limit'")
    (position,) = await stage.rows("SELECT quantity FROM positions")
    assert (before, left, order["reason"], position["quantity"] > 0) == (1, 1, REASON, True)
    await _at_rest(stage, scenario)
    await engine.stop()
    scenario.seen(
        f"{left} order rested when the gateway died, none after the countdown; the next gateway calls it "
        f"{order['state']} ({order['reason']}), and the position is still there."
    )


async def _resting(stage: Stage) -> bool:
    """Whether an order rests, and the countdown runs."""
    return bool(stage.simulator.venue.resting(stage.account)) and _asked(stage, "countdown") > 0


async def _none_resting(stage: Stage) -> bool:
    return not stage.simulator.venue.resting(stage.account)
