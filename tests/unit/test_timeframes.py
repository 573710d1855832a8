from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import cashup as cu
from cashup.errors import NotebookError
from cashup.markets.synthetic import generate
from cashup.strategies.bars import FIELDS, Bars

DAY = 86_400_000
HOUR = 3_600_000
START = 1_735_689_600_000  # 2025-01-01, a Wednesday


def hourly(n: int = 400, symbols: tuple[str, ...] = ("BTC/USDT", "ETH/USDT"), start: int = START) -> Bars:
    return Bars.join({symbol: generate(symbol, "1h", start, n, seed=1) for symbol in symbols}, "1h")


def test_a_day_is_what_pandas_makes_of_its_hours() -> None:
    bars = hourly(24 * 10)
    daily = bars.at("1d")
    frame = bars.close["ETH/USDT"].resample("1D")
    assert daily.timeframe == "1d"
    assert daily.close["ETH/USDT"].tolist() == frame.last().tolist()
    assert daily.open["ETH/USDT"].tolist() == bars.open["ETH/USDT"].resample("1D").first().tolist()
    assert daily.high["ETH/USDT"].tolist() == bars.high["ETH/USDT"].resample("1D").max().tolist()
    assert daily.low["ETH/USDT"].tolist() == bars.low["ETH/USDT"].resample("1D").min().tolist()
    assert daily.volume["ETH/USDT"].tolist() == pytest.approx(bars.volume["ETH/USDT"].resample("1D").sum().tolist())
    assert daily.index[0] == bars.index[0]


def test_only_days_that_are_covered_and_closed_are_there() -> None:
    bars = hourly(24 * 4).rows(5, 24 * 3 + 23)
    assert bars.at("1d").index.strftime("%m-%d").tolist() == ["01-02", "01-03"]
    assert bars.rows(0, 20).at("1d").close.empty
    assert Bars(bars.times[:0], bars.symbols, "1h", bars.values[:, :0]).at("1d").close.empty


def test_a_day_appears_with_the_bar_that_closes_it() -> None:
    bars = hourly(24 * 3)
    daily = bars.at("1d")
    aligned = daily.align(daily.close)
    assert aligned.index.equals(bars.index)
    assert aligned.iloc[:23].isna().all().all()
    assert aligned.iloc[23].tolist() == daily.close.iloc[0].tolist(), "the hour that opens at 23:00 closes the day"
    assert aligned.iloc[46].tolist() == daily.close.iloc[0].tolist()
    assert aligned.iloc[47].tolist() == daily.close.iloc[1].tolist()
    pd.testing.assert_frame_equal(bars.align(daily.close, "1d"), aligned)
    assert daily.align(daily.close["ETH/USDT"]).tolist()[47] == daily.close["ETH/USDT"].iloc[1]


def test_a_day_whose_last_hours_are_missing_appears_late() -> None:
    whole = hourly(24 * 3)
    there = np.r_[0:21, 24 : 24 * 3]  # 21:00 to 23:00 of the first day are missing
    bars = Bars(whole.times[there], whole.symbols, "1h", whole.values[:, there])
    aligned = bars.at("1d").align(bars.at("1d").close)
    assert np.isnan(aligned.iloc[20, 0])
    assert aligned.iloc[21, 0] == whole.close.iloc[20, 0]


def test_weeks_open_on_monday() -> None:
    weekly = hourly(24 * 20).at("1w")
    assert weekly.index.strftime("%m-%d").tolist() == ["01-06", "01-13"]


def test_a_symbol_without_a_bar_is_skipped() -> None:
    bars = hourly(48)
    values = bars.values.copy()
    values[:, :30, 1] = np.nan
    values[:, 40, 1] = np.nan
    daily = Bars(bars.times, bars.symbols, "1h", values).at("1d")
    assert np.isnan(daily.values[:, 0, 1]).all()
    assert daily.open.iloc[1, 1] == bars.open.iloc[30, 1]
    assert daily.close.iloc[1, 1] == bars.close.iloc[47, 1]
    assert daily.high.iloc[1, 1] == np.nanmax(values[1, 24:, 1])
    assert daily.close.iloc[1, 0] == bars.close.iloc[47, 0]


@pytest.mark.parametrize("timeframe", ["30m", "90m", "1x"])
def test_a_timeframe_that_cannot_be_made_is_refused(timeframe: str) -> None:
    with pytest.raises(NotebookError, match=r"multiple|not a timeframe"):
        hourly(48).at(timeframe)


def test_windows_give_the_targets_of_the_whole() -> None:
    def target(bars: cu.Bars, days: int) -> pd.DataFrame:
        daily = bars.at("1d")
        trend = daily.align(daily.close.diff(days))
        weekly = bars.at("1w")
        return (trend > 0) & (bars.close > weekly.align(weekly.low))

    # Three closed days and one closed week, each plus the one that is cut off at the start.
    strategy = cu.Strategy(target, symbols=["BTC/USDT", "ETH/USDT"], timeframe="1h", warmup=14 * 24, params={"days": 3})
    bars = hourly(24 * 30)
    targets = strategy.targets(bars)
    assert targets.iloc[strategy.warmup :].nunique().min() == 2
    for row in range(strategy.warmup, len(bars)):
        window = bars.rows(row - strategy.warmup, row + 1)
        assert strategy.decide(window) == targets.iloc[row].to_dict(), bars.index[row]


def test_the_sums_do_not_depend_on_the_memory_the_bars_lie_in() -> None:
    bars = hourly(24 * 9)
    other = Bars(bars.times, bars.symbols, "1h", np.asfortranarray(bars.values))
    assert np.array_equal(bars.at("1d").values, other.at("1d").values)
    assert bars.values.shape[0] == len(FIELDS)
