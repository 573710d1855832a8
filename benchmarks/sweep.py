"""Sweeps: pairs a second beside a literal kernel, the memory of all processes together, and Dask workers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import numba
import numpy as np
import psutil

from benchmarks.measure import cashup, home, pss_mib, run, spread
from cashup.clock import parse_time

MINUTES = 525_600
START = "2025-01-01"
FAST, SLOW = range(5, 30), range(30, 110, 2)
"""25 x 40 = 1,000 pairs."""
WORKERS = 2
SYMBOLS = 20
FEE = 0.001

PLAIN = """
def target(bars, fast, slow):
    return (bars.close.rolling(fast).mean() > bars.close.rolling(slow).mean()).astype(float)
"""
INDICATOR = """
@cu.indicator
def average(bars, length):
    return bars.close.rolling(length).mean()

def target(bars, fast, slow):
    return average(bars, fast) > average(bars, slow)
"""

BARE_CALLS = 150
_BARE = """
import sys, time
import numpy as np, pandas as pd
close = pd.DataFrame({"C": 100 + np.random.default_rng(1).standard_normal(int(sys.argv[1])).cumsum() / 100})
close.rolling(10).mean()
print("ready", flush=True)
sys.stdin.readline()
began = time.perf_counter()
for number in range(int(sys.argv[2])):
    (close.rolling(5 + number % 20).mean() > close.rolling(30 + number % 50).mean()).astype(float)
print(time.perf_counter() - began, flush=True)
"""

_SCRIPT = """
import json, sys, time
from pathlib import Path
from dataclasses import replace
from cashup.research.sweeping.plan import Plan
from cashup.research.spec import RunSpec
from cashup.research.sweeping.sweep import run_sweep
notebook, ranges, how, repeats = Path(sys.argv[1]), *map(json.loads, sys.argv[2:5])
seconds = []
for number in range(repeats):
    began = time.perf_counter()
    found = run_sweep(notebook, Plan(ranges=ranges, spec=RunSpec(run_id=f"bench-{time.time_ns()}")), **how)
    seconds.append(time.perf_counter() - began)
    assert found.counts()["ok"] == len(found.trials), found.notes()
best = found.best
print(json.dumps({"seconds": seconds, "trials": len(found.trials), "params": best.params, "best": best.metrics}))
"""


def sweep() -> dict[str, Any]:
    """1,000 (fast, slow) pairs on 525,600 one-minute bars, two processes, against a literal kernel on two threads."""
    with home() as folder:
        _bars(folder, ["BTC/USDT"])
        ranges = {"fast": list(FAST), "slow": list(SLOW)}
        plain = _sweep(folder, PLAIN, ranges, {"workers": WORKERS}, 2)
        indicator = _sweep(folder, INDICATOR, ranges, {"workers": WORKERS}, 3)
        literal = _literal(folder)
    pairs = len(FAST) * len(SLOW)
    return {
        "pairs": pairs,
        "pairs_per_second_plain": round(pairs / median(plain["seconds"]), 1),
        "pairs_per_second_indicator": round(pairs / median(indicator["seconds"]), 1),
        "pairs_per_second_literal": round(pairs / median(literal), 1),
        "literal_to_indicator": round(median(indicator["seconds"]) / median(literal), 2),
        "seconds_plain": spread(plain["seconds"], 2),
        "seconds_indicator": spread(indicator["seconds"], 2),
        "seconds_literal": spread(literal, 2),
        "pss_mib_plain": plain["pss_mib"],
        "pss_mib_indicator": indicator["pss_mib"],
    }


def sweep_dask() -> dict[str, Any]:
    """The sweep over 20 symbols through Dask, one worker and two: of 1,000 pairs (one run each), and of 100 pairs.

    Beside it what this machine gives two processes that share nothing: the same pandas calls without sweep and Dask.
    """
    with home() as folder:
        symbols = [f"C{number:02}/USDT" for number in range(SYMBOLS)]
        _bars(folder, symbols)
        of_each: dict[str, Any] = {"symbols": [[symbol] for symbol in symbols]}
        few = of_each | {"fast": list(range(5, 25, 2)), "slow": list(range(30, 80, 5))}
        return {
            "bare_two_to_one": round(median(_bare() for _ in range(3)), 2),
            "of_100_pairs": _one_and_two(folder, few, 2),
            "of_1000_pairs": _one_and_two(folder, of_each | {"fast": list(FAST), "slow": list(SLOW)}, 1),
        }


def _one_and_two(folder: Path, ranges: dict[str, Any], repeats: int) -> dict[str, Any]:
    done = {
        count: _sweep(folder, PLAIN, ranges, {"scheduler": "dask", "workers": count}, repeats) for count in (1, WORKERS)
    }
    took = {count: median(one["seconds"]) for count, one in done.items()}
    return {
        "trials": done[1]["trials"],
        "seconds_one": round(took[1], 1),
        "seconds_two": round(took[WORKERS], 1),
        "two_to_one": round(took[1] / took[WORKERS], 2),
        "same": done[1]["best"] == done[WORKERS]["best"],
        "pss_mib_two": done[WORKERS]["pss_mib"],
    }


def _bare() -> float:
    """How much sooner two bare processes, with half of the calls each, are done than one with all of them."""
    one, two = _bare_seconds(1, 2 * BARE_CALLS), _bare_seconds(2, BARE_CALLS)
    return one / two


def _bare_seconds(processes: int, calls: int) -> float:
    """What the slowest of them took, from when all were ready."""
    words = [sys.executable, "-c", _BARE, str(MINUTES), str(calls)]
    with ExitStack() as stack:
        started = [
            stack.enter_context(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _ in range(processes)
        ]
        for process in started:
            _line(process)
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return max(float(_line(process)) for process in started)


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def _bars(folder: Path, symbols: list[str]) -> None:
    for symbol in symbols:
        words = ["--symbol", symbol, "--timeframe", "1m", "--start", START, "--bars", str(MINUTES)]
        run(cashup("data", "generate", *words), folder)


def _sweep(folder: Path, target: str, ranges: dict[str, Any], how: dict[str, Any], repeats: int) -> dict[str, Any]:
    """The script's own times, and the most that all its processes together held (PSS)."""
    notebook = _notebook(folder / "bench.ipynb", target)
    words = [sys.executable, "-c", _SCRIPT, str(notebook), json.dumps(ranges), json.dumps(how), str(repeats)]
    with subprocess.Popen(words, env=_env(folder), stdout=subprocess.PIPE, text=True) as process:
        most = 0.0
        while process.poll() is None:
            most = max(most, _held(process.pid))
            time.sleep(0.5)  # asking for its memory holds a process up
        said = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise RuntimeError("the sweep failed; its words stand above")
    told: dict[str, Any] = json.loads(said.splitlines()[-1])
    return told | {"pss_mib": round(most)}


def _held(pid: int) -> float:
    held = 0.0
    try:
        tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    for one in tree:
        try:
            held += pss_mib(one.pid)
        except (OSError, RuntimeError):
            continue  # it has just ended
    return held


def _env(folder: Path) -> dict[str, str]:
    import os

    return {**os.environ, "CASHUP_HOME": str(folder)}


def _notebook(path: Path, target: str) -> Path:
    cells = [
        'symbols = ["BTC/USDT"]\ntimeframe = "1m"\nfast = 10\nslow = 30\n',
        f"import cashup as cu\n{target}\n"
        "strategy = cu.Strategy(target, symbols=symbols, timeframe=timeframe, warmup=slow, "
        'params={"fast": fast, "slow": slow})\n',
        "run = cu.run(strategy)",
    ]
    body = [
        {
            "cell_type": "code",
            "source": cell,
            "metadata": {"tags": ["parameters"]} if number == 0 else {},
            "outputs": [],
            "execution_count": None,
        }
        for number, cell in enumerate(cells)
    ]
    path.write_text(json.dumps({"cells": body, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


def _literal(folder: Path) -> list[float]:
    """The same pairs, each in one pass that knows nothing but this strategy and keeps the final equity alone."""
    from cashup.markets.lake import Lake

    bars = Lake(folder / "lake").bars("gate", ["BTC/USDT"], "1m", parse_time(START), None)
    opens, closes = (np.ascontiguousarray(bars.values[field, :, 0]) for field in (0, 3))
    pairs = [(fast, slow) for fast in FAST for slow in SLOW]
    _one_pass(opens[:1_000], closes[:1_000], 5, 30, FEE)
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        with ThreadPoolExecutor(WORKERS) as threads:
            list(threads.map(lambda pair: _one_pass(opens, closes, *pair, FEE), pairs))
        seconds.append(time.perf_counter() - began)
    return seconds


@numba.njit(nogil=True)
def _one_pass(opens: Any, closes: Any, fast: int, slow: int, fee: float) -> float:
    cash, held, wanted = 1.0, 0.0, False
    short = long = 0.0
    for bar in range(len(closes)):
        if bar >= slow:
            if wanted and held == 0.0:
                held = cash / (opens[bar] * (1.0 + fee))
                cash = 0.0
            elif not wanted and held > 0.0:
                cash = held * opens[bar] * (1.0 - fee)
                held = 0.0
        short += closes[bar]
        long += closes[bar]
        if bar >= fast:
            short -= closes[bar - fast]
        if bar >= slow:
            long -= closes[bar - slow]
        wanted = bar >= slow and short / fast > long / slow
    return cash + held * closes[-1]
