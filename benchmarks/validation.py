"""What it costs to tell an edge from luck: a walk-forward beside the bare passes it needs; the tests of one run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.measure import spread
from cashup.clock import parse_time
from cashup.markets.synthetic import generate
from cashup.research.backtest import backtest
from cashup.research.kernel import Terms, carry_out, prices_of
from cashup.research.spec import RunSpec
from cashup.research.validating.candidates import load_candidates, sets_of
from cashup.research.validating.montecarlo import monte_carlo_bars, monte_carlo_returns, monte_carlo_trades
from cashup.research.validating.overfitting import probability_of_overfitting
from cashup.research.validating.significance import signal_significance
from cashup.research.validating.walkforward import walk_forward
from cashup.strategies.bars import Bars
from cashup.strategies.strategy import Strategy

HOURS, MINUTES = 8_760, 525_600
SETS = {"fast": range(5, 55, 5), "slow": range(60, 160, 10)}
SLOWEST = 150


def _cross(bars: Bars, fast: int, slow: int) -> Any:
    return (bars.close.rolling(fast).mean() > bars.close.rolling(slow).mean()).astype(float)


def _make(params: Any) -> Strategy:
    return Strategy(_cross, symbols=["BTC/USDT"], timeframe="1h", warmup=SLOWEST, params=params)


def _bars(timeframe: str, count: int) -> Bars:
    return Bars.join({"BTC/USDT": generate("BTC/USDT", timeframe, parse_time("2024-01-01"), count, 7)}, timeframe)


def walkforward() -> dict[str, Any]:
    """100 sets x 12 train windows on a year of hours: our walk-forward, and its passes alone as a floor."""
    bars = _bars("1h", HOURS)
    candidates = load_candidates(_make, sets_of(SETS))

    def walk() -> None:
        walk_forward(candidates, bars, RunSpec(), train="120d", test="20d")

    def floor() -> None:
        for strategy in candidates.strategies:
            targets = strategy.targets(bars).to_numpy()
            for first in range(0, 12 * 480, 480):
                cut = bars.rows(first, first + 2_880)
                carry_out(prices_of(cut), targets[first : first + 2_880], Terms(fee=0.001), capital=1e4, keep=False)

    return {"sets": len(candidates), "bars": HOURS, "seconds": _timed(walk), "floor_seconds": _timed(floor)}


def validation() -> dict[str, Any]:
    """The tests of one run: on a year of hours, and the signal's on a year of minutes."""
    bars = _bars("1h", HOURS)
    strategy = _make({"fast": 10, "slow": 60})
    run = backtest(strategy, bars, RunSpec())
    targets = strategy.targets(bars).iloc[SLOWEST:]
    minutes = _bars("1m", MINUTES)
    long = _cross(minutes, 10, 60)
    noise = np.random.default_rng(1).normal(size=(365, 1_000))
    return {
        "trade_shuffle_1000": _timed(lambda: monte_carlo_trades(run, samples=1_000)),
        "returns_1000": _timed(lambda: monte_carlo_returns(run, samples=1_000)),
        "histories_100": _timed(lambda: monte_carlo_bars(strategy, bars, RunSpec(), samples=100)),
        "significance_2000": _timed(lambda: signal_significance(targets, bars, samples=2_000)),
        "significance_minutes_2000": _timed(lambda: signal_significance(long, minutes, samples=2_000)),
        "overfitting_1000_trials": _timed(lambda: probability_of_overfitting(noise)),
    }


def _timed(work: Callable[[], object]) -> dict[str, Any]:
    work()  # compiles
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return spread(seconds)
