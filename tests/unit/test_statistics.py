"""Every figure by hand or against vectorbt's own."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from cashup.markets.synthetic import generate
from cashup.research.backtest import Backtest, backtest
from cashup.research.performance import Performance
from cashup.research.reporting.drawdown import deepest, drawdown_of
from cashup.research.reporting.monthly import daily_returns, monthly_returns
from cashup.research.reporting.rolling import rolling, span_text
from cashup.research.reporting.statistics import METRICS
from cashup.research.spec import RunSpec
from cashup.research.trades import ORDER_COLUMNS, empty_orders
from cashup.strategies.bars import Bars
from cashup.strategies.strategy import Strategy

HOUR = pd.Timedelta(hours=1)
START = 1_735_689_600_000


def hours(count: int, start: str = "2025-01-01") -> pd.DatetimeIndex:
    return pd.date_range(start, periods=count, freq="h", tz="UTC", unit="ms", name="timestamp")


def orders(*rows: tuple) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(ORDER_COLUMNS))


@pytest.fixture(scope="module")
def made() -> Backtest:
    bars = Bars.join({"BTC/USDT": generate("BTC/USDT", "1h", START, 3000, 11)}, "1h")

    def target(bars: Bars) -> pd.DataFrame:
        return (bars.close.rolling(10).mean() > bars.close.rolling(30).mean()).astype(float)

    strategy = Strategy(target, symbols=["BTC/USDT"], timeframe="1h", warmup=30)
    return backtest(strategy, bars, RunSpec())


@pytest.mark.filterwarnings("ignore")
def test_the_returns_figures_are_vectorbts(made):
    import vectorbt as vbt

    returns = made.equity.pct_change().fillna(made.equity.iloc[0] / made.capital - 1)
    theirs = returns.vbt.returns(freq="1h", year_freq="365 days")
    stats = made.stats()
    assert vbt.settings.array_wrapper["freq"] is None
    for label, value in {
        "CAGR [%]": theirs.annualized() * 100,
        "Annualized Volatility [%]": theirs.annualized_volatility() * 100,
        "Sharpe Ratio": theirs.sharpe_ratio(),
        "Sortino Ratio": theirs.sortino_ratio(),
        "Calmar Ratio": theirs.calmar_ratio(),
        "Omega Ratio": theirs.omega_ratio(),
        "Max Drawdown [%]": -theirs.max_drawdown() * 100,
        "Ulcer Index": theirs.ulcer_index(),
        "Tail Ratio": theirs.tail_ratio(),
        "Value at Risk": theirs.value_at_risk(),
        "Conditional Value at Risk": theirs.cond_value_at_risk(),
        "Skew": returns.skew(),
        "Kurtosis": returns.kurt(),
    }.items():
        assert stats[label] == pytest.approx(value, rel=1e-9), label


def test_exposure_turnover_and_sides_of_a_short_and_a_long():
    index = hours(6)
    close = pd.DataFrame({"A/B:B": [100.0, 100, 80, 80, 100, 100]}, index=index)
    done = orders(
        (index[0], "A/B:B", "sell", 5.0, 100.0, 1.0, "target"),
        (index[2], "A/B:B", "buy", 5.0, 80.0, 1.0, "stop_loss"),
        (index[3], "A/B:B", "buy", 10.0, 80.0, 2.0, "target"),
    )
    equity = pd.Series([999.0, 999, 1098, 1096, 1296, 1296], index=index)
    paid = pd.DataFrame({"timestamp": [index[1]], "symbol": ["A/B:B"], "amount": [-3.0]})
    made = Performance(equity=equity, orders=done, close=close, timeframe="1h", capital=1000.0, funding=paid)
    stats = made.stats()
    exposure = made.exposure()["A/B:B"].tolist()
    assert exposure == pytest.approx([-500 / 999, -500 / 999, 0, 800 / 1096, 1000 / 1296, 1000 / 1296])
    assert stats["Avg Gross Exposure [%]"] == pytest.approx(np.abs(exposure).mean() * 100)
    assert stats["Avg Net Exposure [%]"] == pytest.approx(np.mean(exposure) * 100)
    assert stats["Exposure Time [%]"] == pytest.approx(500 / 6)
    traded, years = 500 + 400 + 800, 6 / 8760
    assert stats["Annualized Turnover [x]"] == pytest.approx(traded / equity.mean() / years)
    assert (stats["Total Fees Paid"], stats["Total Funding Paid"]) == (4.0, 3.0)
    assert (stats["Long Trades"], stats["Short Trades"]) == (1, 1)
    assert stats["Short PnL"] == pytest.approx(5 * 20 - 2)
    assert stats["Short Win Rate [%]"] == 100
    assert stats["Long PnL"] == pytest.approx(10 * 20 - 2)


def test_days_and_months_are_those_of_the_calendar():
    index = hours(24 * 60, "2024-12-15")
    equity = pd.Series(np.linspace(1000, 2439, len(index)), index=index)
    daily = daily_returns(equity, 1000.0)
    assert len(daily) == 60
    assert daily.iloc[1] == pytest.approx(equity.iloc[47] / equity.iloc[23] - 1)
    table = monthly_returns(equity, 1000.0)
    assert list(table.index) == [2024, 2025]
    last_of_december = equity[:"2024-12-31"].iloc[-1]
    assert table.loc[2024, "Dec"] == pytest.approx(last_of_december / 1000 - 1)
    assert table.loc[2025, "Year"] == pytest.approx(equity.iloc[-1] / last_of_december - 1)
    assert np.isnan(table.loc[2024, "Jan"])


def test_the_deepest_drawdowns_come_first_and_an_open_one_has_no_end():
    equity = pd.Series([110.0, 99, 110, 120, 60, 90, 120, 130, 117], index=hours(9))
    found = deepest(drawdown_of(equity, 100.0), HOUR)
    assert found["depth"].tolist() == pytest.approx([-0.5, -0.1, -0.1])
    first = found.iloc[0]
    assert (first["start"], first["trough"], first["end"]) == (equity.index[4], equity.index[4], equity.index[6])
    assert found["length"].tolist() == [2 * HOUR, HOUR, HOUR]
    assert found["end"].isna().tolist() == [False, False, True]


def test_rolling_figures_say_their_window_and_equal_the_whole_runs_formula(made):
    found = rolling(made.equity, made.capital, made.bar)
    assert found.window == pd.Timedelta(days=30)
    assert span_text(found.window) == "30 days"
    returns = made.equity.pct_change().iloc[-720:]
    assert found.sharpe.iloc[-1] == pytest.approx(returns.mean() / returns.std() * np.sqrt(8760))
    assert found.sharpe.isna().sum() == 719
    short = made.equity.iloc[:80]
    assert rolling(short, made.capital, made.bar).window == 20 * HOUR


def test_metrics_are_json_with_ratios_and_say_their_annualisation(made):
    figures = json.loads(json.dumps(made.metrics(), allow_nan=False))
    assert set(figures) == set(METRICS) | {"max_drawdown_days", "trades"}
    stats = made.stats()
    assert figures["cagr"] == stats["CAGR [%]"] / 100
    assert figures["bars_per_year"] == 8760
    assert made.to_json()["annualisation"] == stats["Annualisation"] == "365 days, 8,760 bars a year, risk-free 0"


def test_a_run_of_one_bar_has_figures_without_warnings():
    index = hours(1)
    close = pd.DataFrame({"A/B": [100.0]}, index=index)
    made = Performance(
        equity=pd.Series([1000.0], index=index), orders=empty_orders(), close=close, timeframe="1h", capital=1000.0
    )
    assert made.metrics()["total_return"] == 0.0
    assert made.metrics()["sharpe"] is None
