"""Runs that could have been: what stays the same in them, and what may not happen."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cashup.clock import parse_time
from cashup.errors import UsageError
from cashup.markets.synthetic import generate
from cashup.research.backtest import Backtest, backtest
from cashup.research.spec import RunSpec
from cashup.research.validating.montecarlo import (
    max_drawdown,
    monte_carlo_bars,
    monte_carlo_returns,
    monte_carlo_trades,
    resampled_bars,
)
from cashup.strategies.bars import Bars
from cashup.strategies.strategy import Strategy


def made_up(count: int = 600, symbols: tuple[str, ...] = ("BTC/USDT",)) -> Bars:
    start = parse_time("2024-01-01")
    return Bars.join({symbol: generate(symbol, "1h", start, count, 1) for symbol in symbols}, "1h")


def cross(bars: Bars) -> pd.DataFrame:
    return (bars.close.rolling(5).mean() > bars.close.rolling(15).mean()).astype(float)


def strategy(*symbols: str) -> Strategy:
    return Strategy(cross, symbols=symbols or ("BTC/USDT",), timeframe="1h", warmup=15)


@pytest.fixture(scope="module")
def run() -> Backtest:
    return backtest(strategy(), made_up(), RunSpec())


def test_shuffled_trades_end_where_they_ended_and_fall_otherwise(run: Backtest) -> None:
    made = monte_carlo_trades(run, samples=300, seed=4)
    assert made.final_equity == pytest.approx(run.equity.iloc[-1])
    assert made.equity[-1] == pytest.approx(run.equity.iloc[-1])
    assert made.max_drawdown.std() > 0
    assert 0 < made.to_json()["drawdown_rank"] <= 1
    assert made.drawdown(5) <= made.drawdown(50) <= made.drawdown(95)
    assert len(made.steps) == made.bands.shape[1] == len(run.trades)


def test_trades_drawn_anew_end_elsewhere_around_it(run: Backtest) -> None:
    made = monte_carlo_trades(run, method="resample", samples=4_000, seed=4)
    growth = np.log(made.final_equity / run.capital)
    assert growth.std() > 0
    assert growth.mean() == pytest.approx(np.log(run.equity.iloc[-1] / run.capital), abs=4 * growth.std() / 63)
    assert 0 < made.loss_probability < 1


def test_the_worst_order_is_not_worse_than_all_losses_in_a_row() -> None:
    assert max_drawdown(np.array([[90.0, 120.0, 60.0], [100.0, 110.0, 120.0]]), 100.0).tolist() == [0.5, 0.0]


def test_returns_drawn_in_blocks(run: Backtest) -> None:
    made = monte_carlo_returns(run, samples=400, seed=1)
    assert np.log(made.final_equity).std() > 0
    one = monte_carlo_returns(run, samples=3, seed=1)
    assert (one.final_equity == made.final_equity[:3]).all(), "more samples begin with the same ones"


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), block=st.sampled_from([1.0, 5.0, 60.0]))
def test_a_resampled_history_has_the_same_candles_and_no_impossible_one(seed: int, block: float) -> None:
    bars = made_up(300, ("BTC/USDT", "ETH/USDT"))
    other = resampled_bars(bars, block, seed)
    opened, high, low, close, _ = other.values
    assert (high >= np.maximum(opened, close)).all()
    assert (low <= np.minimum(opened, close)).all()
    assert (low > 0).all()
    assert (other.times == bars.times).all()
    bodies = (bars.close / bars.open).round(9).to_numpy()
    assert set(map(tuple, (other.close / other.open).round(9).to_numpy())) <= set(map(tuple, bodies))
    assert opened[0] == pytest.approx(bars.values[0, 0])


def test_the_strategy_runs_again_on_each_history(run: Backtest) -> None:
    made = monte_carlo_bars(strategy(), made_up(), RunSpec(), samples=12, seed=2)
    assert len(set(made.final_equity)) == 12
    assert made.observed_drawdown == pytest.approx(run.metrics()["max_drawdown"])
    again = monte_carlo_bars(strategy(), made_up(), RunSpec(), samples=12, seed=2, observed=run)
    assert (again.final_equity == made.final_equity).all()


def test_the_picture_has_bands_and_stays_small(run: Backtest) -> None:
    made = monte_carlo_returns(run, samples=50)
    figure = made.plot()
    assert [trace.name for trace in figure.data] == ["5 %", "25 %", "50 %", "75 %", "95 %", "as it was"]
    assert max(len(trace.x) for trace in figure.data) <= 250


def test_what_cannot_be_drawn(run: Backtest) -> None:
    flat = backtest(
        Strategy(lambda bars: bars.close * 0, symbols=["BTC/USDT"], timeframe="1h", warmup=0), made_up(50), RunSpec()
    )
    with pytest.raises(UsageError, match="at least 2 trades"):
        monte_carlo_trades(flat)
    with pytest.raises(UsageError, match="'shuffle' or 'resample'"):
        monte_carlo_trades(run, method="sort")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="at least one sample"):
        monte_carlo_returns(run, samples=0)
