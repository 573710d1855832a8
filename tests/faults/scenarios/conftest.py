"""The scenario of a test, and the bench it runs on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.faults.scenarios.bench import Bench, open_bench
from tests.faults.scenarios.report import Scenario, write

_passed = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[_passed] = report.passed
    return report


@pytest.fixture
def scenario(request: pytest.FixtureRequest) -> Iterator[Scenario]:
    """The scenario that the test declares. It goes into the results; one in which nothing was seen fails."""
    scenario = Scenario.of(request.function)
    yield scenario
    passed = request.node.stash.get(_passed, False)
    write(scenario, passed=passed and bool(scenario.sentences))
    assert scenario.sentences or not passed, "a scenario says what was seen"


@pytest.fixture
async def bench(database: AsyncEngine, scenario: Scenario) -> AsyncIterator[Bench]:
    """A bench that is ready to trade."""
    async with open_bench(database, scenario) as bench:
        yield bench
