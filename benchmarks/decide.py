"""One worker: how soon it decides, beside the floor; how soon it is there, what it weighs, and how that grows."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import psutil
import uvloop
from aiohttp import ClientError, ClientSession, web

from benchmarks.measure import ROOT, home, pss_mib, spread
from benchmarks.wire import Venue, Wire, Workers
from benchmarks.workers import COINS, MINUTE, START, Fleet, add_account, fleet, percentiles
from cashup.cli.ports import free_port
from cashup.clock import parse_time

FAST, SLOW = 100, 1_000
PAUSE = 0.1
"""Seconds between two bars: sparse, as in life, and many enough for a p99 within a minute."""


def worker_decision(bars: int = 400) -> dict[str, Any]:
    """A bar's close frame at the gateway until the intent at the gateway: one worker, a target on 1,000 bars; floor."""
    with home() as folder:
        ours = uvloop.run(_ours(folder, bars))
        floor = uvloop.run(_floor(bars))
    return {
        "bars": bars,
        "ms_close_to_intent": ours["intent"],
        "ms_close_to_decided": ours["decided"],
        "ms_floor": floor,
        "times_floor": round(ours["intent"]["p50"] / floor["p50"], 2),
        "ms_pandas": _pandas(),
    }


async def _ours(folder: Path, bars: int) -> dict[str, Any]:
    async with fleet(folder, COINS[:1], bars + 60) as made:
        await add_account(made.stack, "paper")
        await made.deploy(COINS[0], account="paper", fast=FAST, slow=SLOW)
        await made.until_ready()
        async with made.stack.control() as control:
            found = []
            for number in range(bars + 50):
                decided = await made.close_bar(control, 1)
                found += decided if number >= 50 else []
                await asyncio.sleep(PAUSE)
    closed = made.venue.closed
    return {
        "intent": percentiles([d.intent - closed[d.symbol, d.bar] for d in found]),
        "decided": percentiles([d.accepted - closed[d.symbol, d.bar] for d in found]),
    }


def _pandas() -> float:
    """Milliseconds of the target alone, in this process: the median."""
    import pandas as pd

    close = pd.DataFrame(np.random.default_rng(1).random((SLOW + 1, 1)) + 100.0)
    took = []
    for _ in range(300):
        began = time.perf_counter_ns()
        (close.rolling(FAST).mean() > close.rolling(SLOW).mean()).astype(float)
        took.append(time.perf_counter_ns() - began)
    return float(percentiles(took)["p50"])


async def _floor(bars: int) -> dict[str, Any]:
    """The same on the floor: a venue that pushes a candle, a process that passes it on, a process that decides."""
    frames: asyncio.Queue[str] = asyncio.Queue()
    runner = await venue_of_frames(frames)
    venue, workers, port = Venue(), Workers(), free_port()
    wires = [
        Wire(f"http://127.0.0.1:{runner.addresses[0][1]}", lambda: venue),
        Wire(f"http://127.0.0.1:{port}", workers.connection),
    ]
    for wire in wires:
        await wire.start()
    deciding = {"gateway": wires[1].url, "symbol": COINS[0], "fast": FAST, "slow": SLOW}
    passing = {"venue": wires[0].url, "port": port}
    words = [sys.executable, "-m", "benchmarks.decide_floor"]
    gateway = await asyncio.create_subprocess_exec(*words, "gateway", json.dumps(passing), cwd=ROOT)
    await _answers(f"http://127.0.0.1:{port}/ready", '"waiting"')
    worker = await asyncio.create_subprocess_exec(*words, "worker", json.dumps(deciding), cwd=ROOT)
    try:
        await _answers(f"http://127.0.0.1:{port}/ready", '"ready"')
        begin = parse_time(START) // 1000
        for number in range(bars + 50):
            frames.put_nowait(candle(begin + number * MINUTE // 1000))
            await asyncio.sleep(PAUSE)
    finally:
        for process in (worker, gateway):
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
        await runner.cleanup()
    return percentiles([d.intent - venue.closed[d.symbol, d.bar] for d in workers.made[50:]])


def candle(seconds: int) -> str:
    """The last frame of the candle that opened at `seconds`."""
    values = {"v": "1", "c": "100.5", "h": "101", "l": "99", "o": "100", "n": "1m_" + COINS[0].replace("/", "_")}
    result = {"t": str(seconds), **values, "a": "1", "w": True}
    return orjson.dumps({"channel": "spot.candlesticks", "event": "update", "result": result}).decode()


async def venue_of_frames(frames: asyncio.Queue[str]) -> web.AppRunner:
    """A WebSocket at `/frames` that pushes what is put into the queue; close it with its `cleanup`."""

    async def push(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        while not socket.closed:
            await socket.send_str(await frames.get())
        return socket

    app = web.Application()
    app.router.add_get("/frames", push)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner


async def _answers(url: str, text: str) -> None:
    async with ClientSession() as session:
        for _ in range(400):
            with suppress(ClientError):
                async with session.get(url) as answer:
                    if await answer.text() == text:
                        return
            await asyncio.sleep(0.05)
    raise RuntimeError(f"{url} did not come to answer {text}")


# --- start and weight ----------------------------------------------------------------------------------------------


def worker(starts: int = 5) -> dict[str, Any]:
    """From the wish to run to the first processed bar, template running; PSS of a worker, and of each further one."""
    with home() as folder:
        return uvloop.run(_worker(folder, starts))


async def _worker(folder: Path, starts: int) -> dict[str, Any]:
    seconds, weights = [], []
    async with fleet(folder, COINS[:1], 100) as made:
        await add_account(made.stack, "paper")
        async with made.stack.control() as control:
            for number in range(starts):
                began = time.perf_counter()
                await made.deploy(COINS[0], account="paper")
                await made.until_ready()
                await made.close_bar(control, number + 1)
                seconds.append(time.perf_counter() - began)
                for _ in range(3):
                    await made.close_bar(control, number + 1)
                weights.append(_weight(made))
                await asyncio.sleep(1.5)  # a supervisor looks at its wishes once a second: each start at another moment
        others = {name: [pss_mib(p.pid) for p in found] for name, found in made.processes().items()}
    return {
        "first_seconds": round(seconds[0], 2),
        "seconds": spread(seconds[1:], 2),
        "pss_mib_first": weights[0],
        "pss_mib_each_further": round((weights[-1] - weights[0]) / (starts - 1), 1),
        "pss_mib": {name: round(sum(found) / len(found), 1) for name, found in others.items() if found},
    }


def _weight(made: Fleet) -> float:
    """PSS of template, workers and kernels together, MiB."""
    found = made.processes()
    return round(sum(pss_mib(p.pid) for name in ("template", "worker", "kernel") for p in found[name]), 1)


# --- a month -------------------------------------------------------------------------------------------------------


def worker_month(bars: int = 43_200) -> dict[str, Any]:
    """A month of minutes through one worker as fast as it goes: how its memory and its notebook grow."""
    with home() as folder:
        return uvloop.run(_month(folder, bars))


async def _month(folder: Path, bars: int) -> dict[str, Any]:
    points: list[tuple[int, float, float]] = []
    async with fleet(folder, COINS[:1], bars + 10) as made:
        await add_account(made.stack, "paper")
        await made.deploy(COINS[0], account="paper")
        await made.until_ready()
        found = made.processes()
        (worker_,), (kernel,) = found["worker"], found["kernel"]
        began = time.perf_counter()
        async with made.stack.control() as control:
            for number in range(bars):
                await made.close_bar(control, 1)
                if number % max(bars // 100, 1) == 0:
                    points.append((number, _rss(worker_), _rss(kernel)))
                    made.workers.made.clear()
                    made.venue.closed.clear()
        seconds = time.perf_counter() - began
        notebooks = [path.stat().st_size for path in (folder / "runs").rglob("*.ipynb")]
    settled = [point for point in points if point[0] >= bars // 10]
    numbers = [point[0] for point in settled]
    slopes = {
        name: _slope(numbers, [point[place] for point in settled]) for place, name in ((1, "worker"), (2, "kernel"))
    }
    return {
        "bars": bars,
        "seconds": round(seconds, 1),
        "mib_per_10000_bars": slopes,
        "rss_mib": {"worker": [settled[0][1], settled[-1][1]], "kernel": [settled[0][2], settled[-1][2]]},
        "notebook_kib": round(max(notebooks, default=0) / 1024, 1),
    }


def _rss(process: psutil.Process) -> float:
    return round(process.memory_info().rss / 2**20, 2)


def _slope(numbers: list[int], values: list[float]) -> float:
    """MiB per 10,000 bars, by least squares."""
    return round(float(np.polyfit(numbers, values, 1)[0]) * 10_000, 3)
