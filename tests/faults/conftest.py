"""The desks of the trading tests, for the tests that prove things of them, and the stage on which processes die."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.faults.crashes.stage import Stage, open_stage
from tests.faults.scenarios.report import Scenario, write
from tests.integration.trading.conftest import (  # noqa: F401  (fixtures)
    desk,
    faulty,
    marks,
    paper_account,
    venue,
)

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
async def stage(database: AsyncEngine, database_url: str, redis_url: str) -> AsyncIterator[Stage]:
    """A stage with a deployment that has no process yet."""
    with tempfile.TemporaryDirectory(prefix="cx-") as folder:  # short: a socket's path may have about 100 bytes
        async with open_stage(database, database_url, redis_url, Path(folder)) as stage:
            yield stage
