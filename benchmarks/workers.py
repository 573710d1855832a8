"""Live workers on paper accounts: what they weigh, how soon they decide, and what a hundred of them take.

Everything runs as processes of its own: simulator (stepped by this process), gateway with PostgreSQL and Redis,
supervisor, workers. This process relays between venue and gateway and between gateway and workers, to see what passes
when; its own time is not counted.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import uvloop

from benchmarks.measure import home, pss_mib
from benchmarks.wire import Decision, Venue, Wire, Workers
from cashup.cli.stack import Market, Stack
from cashup.client import save_token
from cashup.clock import parse_time
from cashup.markets.lake import Lake
from cashup.markets.synthetic import store_generated
from cashup.settings import Settings

START = "2025-01-02"
HISTORY = 2 * 1_440
MINUTE = 60_000
COINS = tuple(f"C{number:02d}/USDT" for number in range(100))
_READY_SECONDS = 300.0
_BAR_SECONDS = 30.0

_CELLS = (
    ("parameters", 'symbols = ["BTC/USDT"]\ntimeframe = "1m"\nfast = 10\nslow = 30'),
    (
        "",
        "import cashup as cu\n\n"
        "def target(bars, fast, slow):\n"
        "    average = bars.close.rolling\n"
        "    return (average(fast).mean() > average(slow).mean()).astype(float)\n\n"
        "strategy = cu.Strategy(\n"
        '    target, symbols=symbols, timeframe=timeframe, warmup=slow, params={"fast": fast, "slow": slow}\n)',
    ),
    ("", "run = cu.run(strategy)"),
)


def write_notebook(path: Path) -> Path:
    """SMA cross as a notebook without a report: a worker that is killed writes none."""
    cells = [
        {
            "cell_type": "code",
            "id": f"cell-{number}",
            "source": source,
            "metadata": {"tags": [tag]} if tag else {},
            "execution_count": None,
            "outputs": [],
        }
        for number, (tag, source) in enumerate(_CELLS)
    ]
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


@dataclass
class Fleet:
    """A running stack whose workers' bytes are seen."""

    stack: Stack
    venue: Venue
    workers: Workers
    names: list[str]

    async def deploy(self, symbol: str, *, account: str, fast: int = 10, slow: int = 30) -> str:
        """Wish one more deployment to run; its name."""
        name = f"bench-{len(self.names):03d}"
        spec = {
            "notebook": str(self.stack.home / "sma.ipynb"),
            "params": {"symbols": [symbol], "fast": fast, "slow": slow},
            "account": account,
            "capital": "1000",
            "symbols": [symbol],
            "timeframe": "1m",
        }
        await asyncio.to_thread(self.stack.client.put_deployment, name, spec)
        await asyncio.to_thread(self.stack.client.start, name)
        self.names.append(name)
        return name

    async def until_ready(self) -> float:
        """Wait until every worker waits for its bars; the seconds that took."""
        began = time.perf_counter()
        while True:
            rows = await asyncio.to_thread(self.stack.client.deployments)
            states = [(row["attempt"] or {}).get("state") for row in rows if row["desired"] == "running"]
            if all(state == "ready" for state in states):
                return time.perf_counter() - began
            if time.perf_counter() - began > _READY_SECONDS:
                raise RuntimeError(f"{sum(state == 'ready' for state in states)} of {len(states)} workers are ready")
            await asyncio.sleep(0.02)

    async def close_bar(self, control: Any, expected: int) -> list[Decision]:
        """Close the open bar; the decisions it led to, of `expected` workers."""
        before = len(self.workers.made)
        await control.request("step")
        deadline = time.perf_counter() + _BAR_SECONDS
        while len(self.workers.made) < before + expected:
            if time.perf_counter() > deadline:
                missing = before + expected - len(self.workers.made)
                raise RuntimeError(f"{missing} of {expected} workers have not decided within {_BAR_SECONDS:.0f} s")
            await asyncio.sleep(0.001)
        return self.workers.made[before:]

    def processes(self) -> dict[str, list[psutil.Process]]:
        """All processes of the stack by what they are."""
        made = self.stack
        found = {name: [psutil.Process(getattr(made, name).pid)] for name in ("simulator", "gateway", "supervisor")}
        found |= {"template": [], "worker": [], "kernel": []}
        for each in made.worker_processes():
            found["kernel" if "cashup.workers.kernel" in each.cmdline() else "worker"].append(each)
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if "cashup.workers.template" in words and words[-1].startswith(f"{made.home}/"):
                found["template"].append(process)
        servers = [p for p in psutil.process_iter(["cmdline"]) if _of_home(made.home, p.info["cmdline"] or ())]
        backends = {child for server in servers for child in (server, *_children(server))}
        found["postgres"] = [process for process in backends if "postgres" in _name(process)]
        found["redis"] = [process for process in backends if "redis" in _name(process)]
        return found

    def kill_workers(self) -> None:
        """End them without their reports: a hundred tear sheets are not what is measured."""
        if not self.stack.supervisor.started:
            return
        self.stack.supervisor.kill()
        for process in self.stack.worker_processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()


def _of_home(folder: Path, words: Sequence[str]) -> bool:
    return any(str(folder) in word for word in words)


@asynccontextmanager
async def fleet(folder: Path, symbols: Sequence[str], bars: int) -> AsyncIterator[Fleet]:
    """A stack whose market has `symbols` and `bars` minutes to go, with a relay on both sides of the gateway."""
    lake = Lake(folder / "lake")
    begin = parse_time(START)
    for seed, symbol in enumerate(symbols):
        store_generated(lake, "gate", symbol, "1m", begin - HISTORY * MINUTE, HISTORY + bars + 10, seed)
    write_notebook(folder / "sma.ipynb")
    made = Stack(folder, Market(symbols, "1m", START), env={"CASHUP_WARM": "1"})
    venue, workers = Venue(), Workers()
    await asyncio.to_thread(made.__enter__)
    wires = [Wire(made.venue_url, lambda: venue), Wire(made.url, workers.connection)]
    found = Fleet(made, venue, workers, [])
    try:
        for wire in wires:
            await wire.start()
        made.venue_url, through = wires[0].url, wires[1].url
        assert made.client.token is not None
        save_token(Settings(home=folder, gateway_url=through), made.client.token)
        made.env["CASHUP_GATEWAY_URL"] = through
        made.supervisor = made._process("supervisor", ["live", "up", "--no-files"])
        made._exit.callback(made.supervisor.stop)
        await asyncio.to_thread(made.supervisor.start, announces=False)
        yield found
    finally:
        found.kill_workers()
        await asyncio.to_thread(made.__exit__, None, None, None)
        for wire in wires:
            wire.stop()


async def add_account(made: Stack, name: str) -> None:
    """A paper account on the simulator's prices."""
    terms = {"balances": {"USDT": "1000000"}, "latency": 0, "jitter": 0, "liquidity": None}
    account = {"name": name, "exchange": "gate", "mode": "paper", "base_url": made.venue_url, "terms": terms}
    await asyncio.to_thread(made.client.add_account, account)


# --- many ----------------------------------------------------------------------------------------------------------


def workers_many(
    deployments: int = 100, symbols: int = 20, bars: int = 20, pause: int = 3, minutes: int = 2, idle: int = 15
) -> dict[str, Any]:
    """100 paper deployments on 20 symbols in 20 accounts, all deciding every one-minute bar: delay, CPU and memory.

    `bars` are closed `pause` seconds apart, then `minutes` a minute apart; `idle` seconds without a bar come between.
    """
    with home() as folder:
        return uvloop.run(_many(folder, deployments, COINS[:symbols], bars, pause, minutes, idle))


async def _many(
    folder: Path, deployments: int, symbols: Sequence[str], bars: int, pause: int, minutes: int, idle: int
) -> dict[str, Any]:
    async with fleet(folder, symbols, bars + minutes + 5) as made:
        for number, _ in enumerate(symbols):
            await add_account(made.stack, f"paper-{number}")
        for number in range(deployments):
            place = number % len(symbols)
            await made.deploy(symbols[place], account=f"paper-{place}")
        started = await made.until_ready()
        async with made.stack.control() as control:
            for _ in range(2):
                await made.close_bar(control, deployments)
            quick, spent = await _lap(made, control, bars, pause, deployments)
            resting = await _rest(made, idle)
            slow, spent_slow = await _lap(made, control, minutes, 60, deployments)
            memory = _memory(made)
        return {
            "deployments": deployments,
            "symbols": len(symbols),
            "accounts": len(symbols),
            "candle_subscriptions": made.venue.subscriptions,
            "seconds_until_all_ready": round(started, 1),
            "ms_close_to_bar_sent": percentiles([d.sent - closed for d, closed in quick]),
            "ms_close_to_intent": percentiles([d.intent - closed for d, closed in quick]),
            "ms_close_to_decided": percentiles([d.accepted - closed for d, closed in quick]),
            "at_the_minute_ms_close_to_decided": percentiles([d.accepted - closed for d, closed in slow]),
            "at_the_minute_ms_close_to_bar_sent": percentiles([d.sent - closed for d, closed in slow]),
            "cpu_ms_per_bar": {name: round(seconds / bars * 1000, 1) for name, seconds in spent.items()},
            "cores_idle": {name: round(seconds / max(idle, 1), 4) for name, seconds in resting.items()},
            "cores_at_one_minute_bars": round(sum(spent_slow.values()) / max(minutes * 60, 1), 3),
            "memory": memory,
        }


async def _lap(
    made: Fleet, control: Any, bars: int, pause: float, deployments: int
) -> tuple[list[tuple[Decision, int]], dict[str, float]]:
    """Close bars; every decision with the moment its bar had closed at, and CPU seconds by kind of process."""
    processes = made.processes()
    before = _cpu(processes)
    found = []
    for _ in range(bars):
        began = time.perf_counter()
        found += await made.close_bar(control, deployments)
        await asyncio.sleep(max(0.0, began + pause - time.perf_counter()))
    after = _cpu(processes)
    spent = {name: max(after[name] - before[name], 0.0) for name in after}
    return [(d, made.venue.closed[d.symbol, d.bar]) for d in found], spent


async def _rest(made: Fleet, seconds: float) -> dict[str, float]:
    """CPU seconds by kind of process while nothing happens."""
    processes = made.processes()
    before = _cpu(processes)
    await asyncio.sleep(seconds)
    return {name: max(after - before[name], 0.0) for name, after in _cpu(processes).items()}


def _cpu(processes: Mapping[str, Sequence[psutil.Process]]) -> dict[str, float]:
    return {name: sum(_seconds(process) for process in found) for name, found in processes.items()}


def _children(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return process.children(recursive=True)
    return []


def _name(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return process.name()
    return ""


def _seconds(process: psutil.Process) -> float:
    """CPU seconds so far; 0 for one that has ended: a backend of the database comes and goes."""
    with suppress(psutil.NoSuchProcess):
        return float(sum(process.cpu_times()[:2]))
    return 0.0


def _pss(process: psutil.Process) -> float:
    """MiB; 0 for one that has ended."""
    with suppress(OSError):
        return pss_mib(process.pid)
    return 0.0


def _memory(made: Fleet) -> dict[str, Any]:
    """PSS in MiB by kind of process, and what the workers weigh: template, workers and kernels."""
    weights = {name: [_pss(p) for p in found] for name, found in made.processes().items()}
    ours = sum(sum(weights[name]) for name in ("template", "worker", "kernel"))
    return {
        "pss_mib": {name: round(sum(found), 1) for name, found in weights.items()},
        "workers_mib": round(ours, 1),
        "mib_per_worker": round(ours / max(len(weights["worker"]), 1), 1),
        "all_mib": round(sum(sum(found) for found in weights.values()), 1),
    }


def percentiles(nanoseconds: Sequence[int]) -> dict[str, Any]:
    """Milliseconds."""
    if len(nanoseconds) < 2:
        return {"count": len(nanoseconds)}
    cuts = statistics.quantiles([value / 1e6 for value in nanoseconds], n=100, method="inclusive")
    longest = max(nanoseconds) / 1e6
    return {"p50": round(cuts[49], 2), "p99": round(cuts[98], 2), "max": round(longest, 2), "count": len(nanoseconds)}
