"""What a notebook costs before its first run, and what strategies pay for what they see."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.measure import run, spread

RUNS = 7
PEAK = "\nprint(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
"""The process's own peak in KiB; what the parent is told counts the parent's memory at the fork."""
MINUTES = 525_600


def import_() -> dict[str, Any]:
    """A process that imports cashup and the words of a strategy, beside one that imports pandas alone: the floor."""
    programs = {
        "cashup": "import cashup as cu; cu.Strategy; cu.Bars",
        "pandas": "import pandas",
        "python": "pass",
    }
    done: dict[str, list[Any]] = {name: [] for name in programs}
    for turn in range(RUNS + 1):  # side by side, so that a busy moment meets all of them; the first turn warms up
        for name, code in programs.items():
            ended = run([sys.executable, "-P", "-c", code + PEAK])
            if turn:
                done[name].append(ended)
    return {
        name: {
            "seconds": spread([one.seconds for one in ended]),
            "peak_mib": round(statistics.median(int(one.stdout) / 1024 for one in ended), 1),
        }
        for name, ended in done.items()
    }


def seen() -> dict[str, Any]:
    """A year of minutes: what checking a target adds, a higher timeframe, aligning, joining, a remembered indicator."""
    import pandas as pd

    import cashup as cu

    bars = _minutes()
    floats, bools = (bars.close > 100).astype(float), bars.close > 100
    hourly = bars.at("1h")
    mood = pd.Series(range(len(hourly)), index=hourly.index)

    @cu.indicator
    def average(bars: cu.Bars, length: int) -> pd.DataFrame:
        return bars.close.rolling(length).mean()

    def strategy(frame: pd.DataFrame) -> cu.Strategy:
        return cu.Strategy(lambda bars: frame, symbols=bars.symbols, timeframe="1m", warmup=30)

    as_floats, as_bools = strategy(floats), strategy(bools)
    average(bars, 10)
    return {
        "targets_of_floats_ms": _ms(lambda: as_floats.targets(bars)),
        "targets_of_bools_ms": _ms(lambda: as_bools.targets(bars)),
        "at_1h_ms": _ms(lambda: bars.rows(0, MINUTES).at("1h")),
        "align_ms": _ms(lambda: hourly.align(hourly.close)),
        "known_ms": _ms(lambda: bars.known(mood)),
        "indicator_remembered_us": _ms(lambda: [average(bars, 10) for _ in range(1000)]),
    }


def _minutes() -> Any:
    import numpy as np

    from cashup.strategies.bars import FIELDS, Bars

    walk = 100 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 1e-3, MINUTES)))
    values = np.ones((len(FIELDS), MINUTES, 1))
    values[:4] = walk[None, :, None]
    return Bars(np.arange(MINUTES, dtype=np.int64) * 60_000, ["BTC/USDT"], "1m", values)


def _ms(work: Callable[[], object]) -> dict[str, Any]:
    seconds = []
    for _ in range(15):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return spread([1000 * one for one in seconds])
