"""The bench that a scenario runs on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.faults.scenarios.bench import Bench, open_bench
from tests.faults.scenarios.report import Scenario


@pytest.fixture
async def bench(database: AsyncEngine, scenario: Scenario) -> AsyncIterator[Bench]:
    """A bench that is ready to trade."""
    async with open_bench(database, scenario) as bench:
        yield bench
