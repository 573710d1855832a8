"""The desks of the trading tests, for the tests that prove things of them, and the stage on which processes die."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.faults.crashes.stage import Stage, open_stage
from tests.integration.trading.conftest import (  # noqa: F401  (fixtures)
    desk,
    faulty,
    marks,
    paper_account,
    venue,
)


@pytest.fixture
async def stage(database: AsyncEngine, database_url: str, redis_url: str) -> AsyncIterator[Stage]:
    """A stage with a deployment that has no process yet."""
    with tempfile.TemporaryDirectory(prefix="cx-") as folder:  # short: a socket's path may have about 100 bytes
        async with open_stage(database, database_url, redis_url, Path(folder)) as stage:
            yield stage
