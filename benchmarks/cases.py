"""The cases. Each returns a JSON document; its docstring says what is measured."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from statistics import median
from typing import Any

import psutil

from benchmarks import process
from benchmarks.check import check
from benchmarks.decide import worker, worker_decision, worker_month
from benchmarks.engines import engines, run_peer, save_bars
from benchmarks.kill import order_kill
from benchmarks.lake import lake
from benchmarks.measure import ROOT, cashup, home, run, spread
from benchmarks.notebook import import_, seen
from benchmarks.orders import order_path
from benchmarks.recovery import order_recovery
from benchmarks.sweep import sweep, sweep_dask
from benchmarks.unknown import order_unknown
from benchmarks.validation import validation, walkforward
from benchmarks.worker_peers import worker_peers
from benchmarks.workers import workers_many
from cashup.cli.stack import Market, Stack
from cashup.clock import parse_time

SMA_CROSS = ROOT / "notebooks" / "sma_cross.ipynb"
HOUR = 3_600_000
MINUTES = 525_600
START = "2025-01-01"
YEAR = 8_760
WINDOWED = 20_000


def help_() -> dict[str, Any]:
    """`cashup --help` as a whole process."""
    run(cashup("--help"))
    return {"seconds": spread([run(cashup("--help")).seconds for _ in range(9)])}


def demo_warm() -> dict[str, Any]:
    """`cashup demo` with everything installed, 2,000 bars, in an empty home."""
    with home() as folder:
        done = run(cashup("demo", "--json", "--home", str(folder)))
        return {
            "seconds": round(done.seconds, 1),
            "bars_per_second": json.loads(done.stdout)["live"]["bars_per_second"],
        }


def demo_cold() -> dict[str, Any]:
    """`make demo` in a fresh clone without a virtual environment: the installation is part of it."""
    with home() as folder:
        clone = folder / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        # Nothing that an earlier installation has downloaded or compiled.
        caches = {"UV_CACHE_DIR": str(folder / "uv"), "PIP_CACHE_DIR": str(folder / "pip")}
        installed = run(["make", "setup"], cwd=clone, env=caches)
        done = run(["make", "demo"], cwd=clone)
        size = sum(path.stat().st_size for path in (clone / ".venv").rglob("*") if path.is_file())
        return {
            "seconds": round(installed.seconds + done.seconds, 1),
            "installation_seconds": round(installed.seconds, 1),
            "environment_mib": size // 1024**2,
        }


def backtest_kernel() -> dict[str, Any]:
    """The same backtest inside a running kernel: the first `cu.run`, and later ones."""
    from jupyter_client.manager import start_new_kernel

    with home() as folder:
        process.store_minutes(folder)
        manager, client = start_new_kernel(env={"CASHUP_HOME": str(folder), "PATH": "/usr/bin:/bin"})
        try:
            _execute(client, _STRATEGY + "import time")
            times = [_timed(client, "run = cu.run(strategy)") for _ in range(6)]
            stats = [_timed(client, "run = cu.run(strategy); run.stats()") for _ in range(3)]
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
    return {
        "bars": MINUTES - 30,
        "first_seconds": round(times[0], 3),
        "seconds": spread(times[1:]),
        "with_stats_seconds": spread(stats),
    }


def replay() -> dict[str, Any]:
    """Bars per second of the replay on a year of hours: the strategy asked per bar (as live), and once for all."""
    from cashup.exchanges.rules import gate_market
    from cashup.markets.lake import Lake
    from cashup.markets.synthetic import store_generated
    from cashup.strategies.notebook import load_strategy
    from cashup.trading.replay import bars_per_second
    from cashup.types import Symbol

    with home() as folder:
        lake = Lake(folder / "lake")
        store_generated(lake, "gate", "BTC/USDT", "1h", parse_time("2024-12-01"), YEAR + 744, 7)
        strategy = load_strategy(SMA_CROSS, {})
        bars = lake.bars("gate", strategy.symbols, "1h", parse_time(START), None, warmup=strategy.warmup)
        markets = {Symbol("BTC/USDT"): gate_market("BTC/USDT", bars.close["BTC/USDT"].tolist())}
        speeds = {
            mode: spread([bars_per_second(strategy, bars, markets, decisions=mode) for _ in range(3)], 0)  # type: ignore[arg-type]
            for mode in ("window", "frame")
        }
    return {"bars": YEAR} | {f"bars_per_second_{mode}": speed for mode, speed in speeds.items()}


def replay_peer() -> dict[str, Any]:
    """Bars per second of the replay and of NautilusTrader's BacktestEngine: the same minutes, the same strategy."""
    from cashup.exchanges.rules import gate_market
    from cashup.markets.lake import Lake
    from cashup.strategies.strategy import Strategy
    from cashup.trading.replay import replay as replay_
    from cashup.types import Symbol

    def target(bars: Any) -> Any:
        # A hundredth of the capital, as the peer trades one unit: fees do not end it before the bars do.
        return (bars.close.rolling(10).mean() > bars.close.rolling(30).mean()) * 0.01

    with home() as folder:
        process.store_minutes(folder)
        lake = Lake(folder / "lake")
        strategy = Strategy(target, symbols=["BTC/USDT"], timeframe="1m", warmup=30)
        bars = lake.bars("gate", strategy.symbols, "1m", None, None)
        markets = {Symbol("BTC/USDT"): gate_market("BTC/USDT", bars.close["BTC/USDT"].tolist())}
        seconds, window_seconds = [], []
        for _ in range(3):
            began = time.perf_counter()
            made = replay_(strategy, bars, markets, capital=Decimal(10_000_000), decisions="frame")
            seconds.append(time.perf_counter() - began)
        few = bars.rows(0, WINDOWED + strategy.warmup)
        began = time.perf_counter()
        replay_(strategy, few, markets, capital=Decimal(10_000_000))
        window_seconds.append(time.perf_counter() - began)
        peer = run_peer("NautilusTrader 1.221", save_bars(lake.read("gate", "BTC/USDT", "1m"), folder / "bars.npz"))
    ours, theirs = len(bars) / median(seconds), len(bars) / peer["engine_seconds"]
    return {
        "bars": len(bars),
        "bars_per_order": round(len(bars) / len(made.orders), 1),
        "seconds": spread(seconds, 2),
        "bars_per_second": round(ours),
        "bars_per_second_asked_bar_by_bar": round(WINDOWED / median(window_seconds)),
        "peer": peer,
        "peer_bars_per_second": round(theirs),
        "times_peer": round(ours / theirs, 2),
    }


def stack() -> dict[str, Any]:
    """A year of hours through the whole stack in lockstep: bars per second, and CPU time per process and bar."""
    with home() as folder:
        run(
            cashup("data", "generate", "--symbol", "BTC/USDT", "--start", "2024-12-25", "--bars", str(YEAR + 169)),
            folder,
        )
        with Stack(folder, Market(["BTC/USDT"], "1h", START)) as made:
            _deploy(made)
            before: dict[str, float] = {}

            def first(stack: Stack, state: Mapping[str, Any]) -> None:
                if stack.lap.steps == 1:
                    before.update(_cpu(stack))

            lap = made.drive(["bench"], until=parse_time(START) + (YEAR - 2) * HOUR, on_step=first)
            spent = {name: seconds - before[name] for name, seconds in _cpu(made).items() if name in before}
            return {
                "bars": lap.steps,
                "orders": len(made.client.orders("bench")),
                "seconds": round(lap.seconds, 1),
                "bars_per_second": round(lap.bars_per_second, 1),
                "cpu_ms_per_bar": {name: round(seconds / lap.steps * 1000, 2) for name, seconds in spent.items()},
            }


CASES: dict[str, Callable[..., dict[str, Any]]] = {
    "help": help_,
    "import": import_,
    "seen": seen,
    "engines": engines,
    **process.CASES,
    "backtest_kernel": backtest_kernel,
    "replay": replay,
    "replay_peer": replay_peer,
    "check": check,
    "sweep": sweep,
    "sweep_dask": sweep_dask,
    "walkforward": walkforward,
    "validation": validation,
    "lake": lake,
    "stack": stack,
    "order_path": order_path,
    "order_recovery": order_recovery,
    "order_kill": order_kill,
    "order_unknown": order_unknown,
    "worker": worker,
    "worker_decision": worker_decision,
    "worker_month": worker_month,
    "worker_peers": worker_peers,
    "workers_many": workers_many,
    "demo_warm": demo_warm,
    "demo_cold": demo_cold,
}

_STRATEGY = """
import cashup as cu

def target(bars, fast, slow):
    return (bars.close.rolling(fast).mean() > bars.close.rolling(slow).mean()).astype(float)

strategy = cu.Strategy(target, symbols=["BTC/USDT"], timeframe="1m", warmup=30, params={"fast": 10, "slow": 30})
"""


def _execute(client: Any, code: str) -> str:
    printed: list[str] = []

    def hook(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream":
            printed.append(message["content"]["text"])

    reply = client.execute_interactive(code, output_hook=hook, timeout=300)
    if reply["content"]["status"] != "ok":
        raise RuntimeError("\n".join(reply["content"]["traceback"]))
    return "".join(printed)


def _timed(client: Any, code: str) -> float:
    return float(_execute(client, f"t = time.perf_counter(); {code}; print(time.perf_counter() - t)").split()[-1])


def _deploy(made: Stack) -> None:
    made.add_account("bench", {"USDT": "10000"})
    made.deploy("bench", SMA_CROSS, account="bench", capital="10000")


def _processes(made: Stack) -> dict[str, psutil.Process]:
    """The processes of a stack by what they are."""
    found = {name: psutil.Process(getattr(made, name).pid) for name in ("simulator", "gateway", "supervisor")}
    for each in made.worker_processes():
        found["kernel" if "cashup.workers.kernel" in each.cmdline() else "worker"] = each
    return found


def _cpu(made: Stack) -> dict[str, float]:
    """CPU seconds per process so far; the database's backends count together."""
    spent = {name: sum(process.cpu_times()[:2]) for name, process in _processes(made).items()}
    servers = [
        p for p in psutil.process_iter(["cmdline"]) if any(str(made.home) in word for word in p.info["cmdline"] or ())
    ]
    backends = {child for p in servers for child in (p, *p.children(recursive=True)) if "postgres" in child.name()}
    spent["postgres"] = sum(sum(process.cpu_times()[:2]) for process in backends)
    spent["driver"] = sum(psutil.Process().cpu_times()[:2])
    return spent
