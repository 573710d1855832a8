"""kill -9 at the k-th suspension of the gateway's tasks, for k = 1, 5, 9, ..., until the script completes untouched.

One script (`buy`): whatever the process waits for when it ends, a new one finishes, with one order on the venue. The
loop ends by itself, when there are not so many suspensions any more. `CASHUP_PROOF_SCALE=4` takes every one of them.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.faults.crashes.stage import KILLED, open_stage
from tests.faults.simulation.tables import empty

pytestmark = pytest.mark.faults

STEP = max(1, round(4 / float(os.environ.get("CASHUP_PROOF_SCALE", "1"))))


async def test_killed_at_each_await(
    database: AsyncEngine, database_url: str, redis: Redis, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    number, killed = 1, 0
    while True:
        await empty(database)
        await redis.flushall()
        with tempfile.TemporaryDirectory(prefix="cx-") as folder:
            async with open_stage(database, database_url, redis_url, Path(folder)) as stage:
                await stage.start("buy", number)
                code = await stage.end()
                await stage.rest_of("buy")
                await stage.check("buy")
        if code == 0:
            break
        assert code == KILLED, f"at suspension {number} the process ended with {code}"
        killed += 1
        number += STEP
    with capsys.disabled():
        print(f"\nkilled at {killed} suspensions, each {STEP}th of less than {number}")
    assert killed >= 20 // STEP
