"""The fast lane of a sweep gives the kernel's numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from cashup.research.kernel import Terms, carry_out, prices_of
from cashup.research.simulation import Scenario
from cashup.research.sweeping.lane import course_of, figures, fits
from cashup.strategies.bars import Bars
from cashup.strategies.strategy import Strategy

COMPARED = (
    "final_equity",
    "total_return",
    "max_drawdown",
    "sum_returns",
    "sum_squares",
    "trades",
    "orders",
    "fees",
    "turnover",
    "exposed",
    "lowest",
)


def scenario(targets: np.ndarray, seed: int, **terms: float) -> Scenario:
    random = np.random.default_rng(seed)
    closes = 100 * np.exp(np.cumsum(random.normal(0, 0.02, len(targets))))
    opens = np.append(100.0, closes[:-1]) * np.exp(random.normal(0, 0.002, len(targets)))
    values = np.stack([opens, np.maximum(opens, closes), np.minimum(opens, closes), closes, closes])[:, :, None]
    bars = Bars(np.arange(len(targets), dtype=np.int64) * 3_600_000, ["BTC/USDT"], "1h", values)
    frame = pd.DataFrame(targets[:, None], bars.index, bars.close.columns)
    return Scenario(bars=bars, targets=frame, terms=Terms(**terms), capital=1_000.0)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("terms", [{}, {"fee": 0.001}, {"fee": 0.002, "slippage": 0.003}])
def test_it_gives_what_the_kernel_gives(seed, terms):
    random = np.random.default_rng(seed)
    kinds = [[0.0, 1.0], [0.0, 0.3, 0.7, 1.0], [np.nan, 0.0, 1.0], [0.5, 1.5, 0.0, np.nan]]
    targets = np.repeat(random.choice(kinds[seed % 4], 200), random.integers(1, 9, 200))
    asked = scenario(targets, seed, **terms)
    made, wanted = (
        figures(targets, course_of(asked.bars), asked.terms, asked.capital),
        carry_out(prices_of(asked.bars), targets, asked.terms, capital=asked.capital, keep=False).figures,
    )
    for name in COMPARED:
        assert getattr(made, name) == pytest.approx(getattr(wanted, name), rel=1e-10, abs=1e-12), name


def test_truth_values_are_ones_and_zeros():
    asked = scenario(np.repeat([1.0, 0.0, 1.0], 50), 3, fee=0.001)
    targets = asked.targets.to_numpy()[:, 0]
    made = [figures(one, course_of(asked.bars), asked.terms, 1.0) for one in (targets, targets.astype(bool))]
    for name in COMPARED:
        assert getattr(made[0], name) == getattr(made[1], name), name
    assert made[0].orders > 1


def strategy(symbol: str = "BTC/USDT", **options: Any) -> Strategy:
    return Strategy(lambda bars: bars.close > 0, symbols=[symbol], timeframe="1h", warmup=1, **options)


def test_what_it_cannot_take_is_left_to_the_kernel():
    short = scenario(np.array([0.0, -1.0, 0.0, 1.0]), 1)
    assert figures(short.targets.to_numpy()[:, 0], course_of(short.bars), short.terms, 1.0) is None
    last = scenario(np.array([0.0, 1.0, 1.0, -1.0]), 1)  # never executed, and refused all the same: as a backtest does
    assert figures(last.targets.to_numpy()[:, 0], course_of(last.bars), last.terms, 1.0) is None
    assert fits(strategy())
    for options in ({"rebalance": 0.1}, {"stop_loss": 0.1}, {"symbol": "BTC/USDT:USDT"}, {"leverage": 0.5}):
        assert not fits(strategy(**options))


@pytest.mark.parametrize("targets", [[1.0], [1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, np.nan, 1.0, 1.0, 0.0]])
def test_the_target_of_the_last_bar_is_never_executed(targets):
    asked = scenario(np.array(targets), 3, fee=0.001)
    grid = np.array(targets)[:, None]
    made = figures(grid[:, 0], course_of(asked.bars), asked.terms, asked.capital)
    wanted = carry_out(prices_of(asked.bars), grid, asked.terms, capital=asked.capital, keep=False).figures
    for name in COMPARED:
        assert getattr(made, name) == pytest.approx(getattr(wanted, name), rel=1e-10, abs=1e-12), name
