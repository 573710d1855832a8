"""A paper account on the public data of a simulator that a test steps, and its book in PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.contract.conftest import LivePaperBench, start_simulator


@pytest.fixture
async def bench(database_url: str, redis_url: str) -> AsyncIterator[LivePaperBench]:
    """The market stands at 100 and goes to 90, 110, 100, 95, 105; the account has 1000 USDT and 2 BTC."""
    bench = LivePaperBench(await start_simulator(), database_url, redis_url)
    yield bench
    await bench.close()
