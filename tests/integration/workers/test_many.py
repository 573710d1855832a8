"""Several deployments on one gateway: one subscription per symbol, and a crash of one touches no other."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvloop

from benchmarks.workers import COINS, Fleet, add_account, fleet, workers_many

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the fleet is made of forks")


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="cashup-many-"))  # short: sockets live in it
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def kernel_of(made: Fleet, name: str) -> psutil.Process:
    """The kernel's folder is named after its worker's process."""
    (worker,) = [process for process in made.processes()["worker"] if name in process.cmdline()]
    (kernel,) = [p for p in made.processes()["kernel"] if f"-{worker.pid}-" in " ".join(p.cmdline())]
    return kernel


async def deployments(made: Fleet) -> dict[str, Any]:
    """By name; on a thread, because the supervisor's calls pass through a relay on this loop."""
    return {row["name"]: row for row in await asyncio.to_thread(made.stack.client.deployments)}


async def crash_one(home: Path) -> None:
    async with fleet(home, COINS[:2], 60) as made:
        await add_account(made.stack, "shared")
        for number in range(4):
            await made.deploy(COINS[number % 2], account="shared")
        await made.until_ready()
        async with made.stack.control() as control:
            await made.close_bar(control, 4)
            assert made.venue.subscriptions == 2  # of four workers and the paper account, over two symbols
            broken, *others = made.names
            kernel_of(made, broken).send_signal(signal.SIGKILL)
            for _ in range(5):
                await made.close_bar(control, 3)
            rows = await deployments(made)
            assert [rows[name]["attempt"]["number"] for name in others] == [1, 1, 1]
            newest = max(bar for _, bar in made.venue.closed)
            assert [rows[name]["last_decided"] for name in others] == [newest] * 3
            end = time.monotonic() + 60
            while (row := (await deployments(made))[broken]["attempt"])["number"] == 1 or row["state"] != "ready":
                assert time.monotonic() < end, row
                await asyncio.sleep(0.05)
            for _ in range(2):
                await made.close_bar(control, 4)
            assert {row["last_decided"] for row in (await deployments(made)).values()} == {newest + 2 * 60_000}
            assert made.venue.subscriptions == 2


def test_a_kernel_that_is_killed_delays_no_other_deployment(home: Path) -> None:
    uvloop.run(crash_one(home))


def test_the_benchmark_of_many_runs_with_few() -> None:
    found = workers_many(deployments=3, symbols=2, bars=2, pause=0, minutes=0, idle=0)
    assert (found["candle_subscriptions"], found["ms_close_to_decided"]["count"]) == (2, 6)
    assert found["memory"]["pss_mib"].keys() >= {"template", "worker", "kernel", "gateway"}
