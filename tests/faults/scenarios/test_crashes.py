"""kill -9 in the middle of an order: what a new process makes of what it finds."""

from __future__ import annotations

import asyncio
import signal
from functools import partial

import pytest

from cashup.storage.events import Events
from cashup.storage.redis import EVENTS, create_redis
from tests.faults.checker import Checker
from tests.faults.crashes.stage import SECONDS, Stage
from tests.faults.proxy import Link
from tests.faults.scenarios.report import Scenario
from tests.faults.test_crash_points import POINTS
from tests.integration.trading.conftest import until

pytestmark = pytest.mark.faults


async def _dies(stage: Stage, point: str) -> None:
    """The gateway is killed at a crash point while it carries out a target."""
    _, moment, found, _ = POINTS[point]
    await moment.strike(stage, "buy")
    assert await stage.holds(found)


async def _goes_on(stage: Stage, scenario: Scenario) -> None:
    """A new gateway finishes; its worker asks again with the same key."""
    await stage.rest_of("buy")
    checker = Checker(stage.database, "main", stage.book, secrets=[stage.account.key, stage.account.secret])
    await scenario.at_rest(checker)


async def _states(stage: Stage) -> list[str]:
    """How the orders ended, in the order in which they were made."""
    return [row["state"] for row in await stage.rows("SELECT state FROM orders ORDER BY created_at")]


def _sent(stage: Stage) -> int:
    return sum(write.what == "place" for write in stage.simulator.register.writes)


async def test_scenario_36_killed_before_the_commit_is_confirmed(stage: Stage, scenario: Scenario) -> None:
    """kill -9 after the commit of an intent was sent and before it was confirmed (C05).

    The intent is there once or not at all; a worker that asks again with the same key gets the same answer.
    """
    await _dies(stage, "C05")
    known = "SELECT i.body_hash, o.client_order_id FROM intents i JOIN orders o ON o.intent = i.key"
    before = await stage.rows(known)
    await _goes_on(stage, scenario)
    after = await stage.rows(known)
    assert len(before) == 1
    assert after == before
    scenario.seen(
        f"{len(before)} intent with {len(before)} order after the death, the same after it was asked for again: "
        f"{', '.join(await _states(stage))}, sent {_sent(stage)} time."
    )


async def test_scenario_37_killed_between_claim_and_write(stage: Stage, scenario: Scenario) -> None:
    """kill -9 after an order was claimed and before a byte of it was written (C07).

    SENDING, then UNKNOWN, then NOT_PLACED: it is never sent. Its target is met by a new order.
    """
    await _dies(stage, "C07")
    (ident,) = [row["client_order_id"] for row in await stage.rows("SELECT client_order_id FROM orders")]
    await _goes_on(stage, scenario)
    assert ident not in {write.text for write in stage.simulator.register.writes}
    query = "SELECT to_state FROM order_events WHERE client_order_id = :ident ORDER BY id"
    path = [row["to_state"] for row in await stage.rows(query, ident=ident)]
    states = await _states(stage)
    assert path == ["pending_send", "sending", "unknown", "not_placed"]
    assert states == ["not_placed", "filled"]
    scenario.seen(f"{' → '.join(path)}, sent 0 times; a second order, {states[1]}, sent {_sent(stage)} time.")


async def test_scenario_38_killed_after_the_write(stage: Stage, scenario: Scenario) -> None:
    """kill -9 after all bytes of an order were written (C09).

    One order on the venue, found and taken over.
    """
    await _dies(stage, "C09")
    await stage.simulator_has_orders()
    await _goes_on(stage, scenario)
    states = await _states(stage)
    assert (states, _sent(stage), len(stage.simulator.venue.orders)) == (["filled"], 1, 1)
    scenario.seen(
        f"{', '.join(states)}; {_sent(stage)} request, {len(stage.simulator.venue.orders)} order on the venue."
    )


async def test_scenario_39_killed_before_what_was_told_is_marked(stage: Stage, scenario: Scenario) -> None:
    """kill -9 after events were written to Redis and before they were marked as told (C20).

    They are told again, with the same numbers; whoever listens gets each of them once.
    """
    redis = create_redis(stage.redis_url)
    events = Events(stage.database, redis)
    running = asyncio.create_task(events.run())
    heard: list[int] = []

    async def listen() -> None:
        async for event in events.subscribe(["deployment:*", "account:*"], after=0):
            heard.append(event.seq)

    listening = asyncio.create_task(listen())
    await _dies(stage, "C20")
    await _goes_on(stage, scenario)
    numbers = [row["seq"] for row in await stage.rows("SELECT seq FROM outbox ORDER BY seq")]
    async with asyncio.timeout(30):
        while len(heard) < len(numbers):
            await asyncio.sleep(0.01)
    told = [int(fields[b"seq"]) for _, fields in await redis.xrange(EVENTS)]
    for task in (listening, running):
        task.cancel()
    await asyncio.gather(listening, running, return_exceptions=True)
    await redis.aclose()
    assert len(told) > len(set(told))
    assert heard == numbers
    scenario.seen("Some numbers were told twice; the listener heard every number once, in order, without a gap.")


async def test_scenario_41_the_holder_of_the_lease_is_paused(stage: Stage, scenario: Scenario) -> None:
    """The gateway is paused (SIGSTOP) before it claims what it stored, for longer than its lease, then resumed.

    Another gateway takes over and sends the order. The one that wakes up does not pass the claim and writes nothing.
    """

    def pause(link: Link, data: bytes) -> None:
        assert stage.process is not None
        stage.process.send_signal(signal.SIGSTOP)

    stored = stage.postgres.when(pause, what=b'"body_hash"', share=1.0)
    await stage.start("buy")
    assert stage.process is not None
    async with asyncio.timeout(SECONDS):
        await stored.reached.wait()
    await until(partial(stage.holds, "EXISTS (SELECT FROM orders WHERE state = 'pending_send')"))
    (before,) = await stage.rows("SELECT fence FROM account_leases")
    await _goes_on(stage, scenario)
    (after,) = await stage.rows("SELECT fence FROM account_leases")
    stage.process.send_signal(signal.SIGCONT)
    assert await stage.end() == 0  # it found that what it was asked for is done
    states = await _states(stage)
    assert (states, _sent(stage), after["fence"] > before["fence"]) == (["filled"], 1, True)
    scenario.seen(
        f"The next gateway took over with a higher fence: {', '.join(states)}, sent {_sent(stage)} time. "
        "The first one, resumed, wrote nothing and ended."
    )
