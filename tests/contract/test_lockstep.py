"""The driver: the next bar opens when everybody is done, and repetitions do nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from cashup.simulator.lockstep import ControlClient, Lockstep
from cashup.simulator.server import Simulator

START = 1_735_689_600_000
HOUR = 3_600_000


@pytest.fixture
async def control(simulator: Simulator) -> AsyncIterator[ControlClient]:
    async with ControlClient(simulator.control_url, simulator.token) as client:
        yield client


def ready(name: str = "demo", bar: int = START - HOUR) -> dict[str, Any]:
    return {"kind": "attempt_ready", "data": {"deployment": name, "attempt": 1, "bar": bar}}


def processed(index: int, name: str = "demo") -> dict[str, Any]:
    return {"kind": "bar_processed", "data": {"deployment": name, "bar": START + index * HOUR}}


async def stream(events: Iterable[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    for event in events:
        yield event


def steps(simulator: Simulator) -> int:
    return int(simulator.control.state()["steps"])


async def test_nothing_moves_before_everybody_is_ready(simulator: Simulator, control: ControlClient) -> None:
    driver = Lockstep(control, ["demo", "other"])
    assert not await driver.run(stream([ready("demo"), ready("stranger"), processed(0, "stranger")]))
    assert steps(simulator) == 0
    await driver.run(stream([ready("other")]))
    assert steps(simulator) == 1


async def test_one_step_per_processed_bar_until_the_last_wanted(simulator: Simulator, control: ControlClient) -> None:
    driver = Lockstep(control, ["demo"], until=START + 2 * HOUR)
    assert await driver.run(stream([ready(), processed(0), processed(1), processed(2), processed(3)]))
    assert steps(simulator) == 3


async def test_repeated_and_old_events_do_nothing(simulator: Simulator, control: ControlClient) -> None:
    driver = Lockstep(control, ["demo"])
    await driver.run(stream([ready(), ready(), processed(0), processed(0), processed(-1), ready(), processed(0)]))
    assert steps(simulator) == 2


async def test_a_restarted_driver_goes_on_where_the_market_stands(simulator: Simulator, control: ControlClient) -> None:
    said = [ready(), processed(0), processed(1)]
    await Lockstep(control, ["demo"]).run(stream(said))
    assert steps(simulator) == 3
    again = Lockstep(control, ["demo"])
    await again.run(stream(said))
    assert steps(simulator) == 3
    await again.run(stream([ready(bar=START + HOUR), processed(2)]))
    assert steps(simulator) == 4


async def test_a_worker_that_died_before_its_first_decision_is_waited_for(
    simulator: Simulator, control: ControlClient
) -> None:
    driver = Lockstep(control, ["demo"])
    await driver.run(stream([ready(), ready(bar=START)]))
    assert steps(simulator) == 1


async def test_the_slowest_deployment_sets_the_pace(simulator: Simulator, control: ControlClient) -> None:
    driver = Lockstep(control, ["demo", "other"])
    await driver.run(stream([ready(), ready("other"), processed(0), processed(0, "other"), processed(1)]))
    assert steps(simulator) == 2
    await driver.run(stream([processed(0), processed(1, "other")]))
    assert steps(simulator) == 3


async def test_the_end_of_the_tape_finishes(simulator: Simulator, control: ControlClient) -> None:
    seen: list[int] = []
    driver = Lockstep(control, ["demo"], progress=lambda state: seen.append(state["steps"]))
    last = len(simulator.venue.tape) - 3
    assert not await driver.run(stream([ready(), *(processed(i) for i in range(last))]))
    assert await driver.run(stream([processed(last)]))
    assert seen == list(range(1, last + 2))


async def test_an_answer_that_nobody_waited_for_is_not_taken_for_the_next_one(control: ControlClient) -> None:
    asked = asyncio.create_task(control.request("requests"))
    await asyncio.sleep(0)  # it is sent, and not answered yet
    asked.cancel()
    await asyncio.wait([asked])
    assert asked.cancelled()
    assert (await control.request("state"))["type"] == "state"
