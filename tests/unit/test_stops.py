"""What a bar does to a position with stops, and what a run with the venue's limits gives."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

import cashup as cu
from cashup.errors import NotebookError
from cashup.markets.lake import Lake
from cashup.markets.synthetic import generate
from cashup.settings import load_settings
from cashup.trading.stops import Exit, Guard, exit_of

D = Decimal
START = 1_735_689_600_000
LONG, SHORT = Guard(D(1), D(100), D(100)), Guard(D(-1), D(100), D(100))


def of(guard: Guard, opened: int, high: int, low: int, **distances: str) -> Exit | None:
    return exit_of(guard, D(opened), D(high), D(low), {name: D(value) for name, value in distances.items()})


@pytest.mark.parametrize(
    ("guard", "bar", "distances", "expected"),
    [
        (LONG, (100, 101, 96), {"stop_loss": "0.05"}, None),
        (LONG, (100, 101, 95), {"stop_loss": "0.05"}, ("stop_loss", 95, False)),
        (LONG, (90, 101, 89), {"stop_loss": "0.05"}, ("stop_loss", 90, False)),
        (SHORT, (100, 105, 99), {"stop_loss": "0.05"}, ("stop_loss", 105, False)),
        (SHORT, (110, 111, 99), {"stop_loss": "0.05"}, ("stop_loss", 110, False)),
        (LONG, (110, 111, 104), {"stop_loss": "0.05", "trailing_stop": "0.05"}, ("trailing_stop", "104.5", False)),
        (LONG, (100, 110, 99), {"take_profit": "0.1"}, ("take_profit", 110, True)),
        (LONG, (115, 116, 99), {"take_profit": "0.1"}, ("take_profit", 115, True)),
        (SHORT, (100, 101, 90), {"take_profit": "0.1"}, ("take_profit", 90, True)),
        (LONG, (100, 110, 95), {"stop_loss": "0.05", "take_profit": "0.1"}, ("stop_loss", 95, False)),
    ],
)
def test_a_bar_and_a_position(guard, bar, distances, expected):
    found = of(guard, *bar, **distances)
    if expected is None:
        assert found is None
    else:
        name, price, rests = expected
        assert found == Exit(name, D(price), rests)


@pytest.fixture
def lake(tmp_path, monkeypatch) -> Lake:
    monkeypatch.setenv("CASHUP_HOME", str(tmp_path))
    return Lake(load_settings().lake_path)


def turning(bars: cu.Bars) -> pd.DataFrame:
    return np.sign(bars.close - bars.close.rolling(20).mean())


def test_a_perpetual_pays_the_lakes_funding_and_shows_what_it_costs_twice(lake):
    symbol = "BTC/USDT:USDT"
    lake.write("gate", symbol, "1h", generate(symbol, "1h", START, 400, 3))
    strategy = cu.Strategy(turning, symbols=[symbol], timeframe="1h", warmup=20, leverage=2, stop_loss=0.02)
    without = cu.run(strategy)
    assert (without.engine, len(without.funding)) == ("kernel", 0)
    assert "no funding rates of BTC/USDT:USDT" in without.notes[0]
    times = pd.date_range("2025-01-01", periods=50, freq="8h", tz="UTC", unit="ms")
    lake.write_series("funding", "gate", symbol, pd.DataFrame({"rate": 0.001}, index=times))
    made = cu.run(strategy)
    assert made.notes == []
    assert len(made.funding) > 20
    assert cu.run(strategy, funding=False).equity.iloc[-1] == without.equity.iloc[-1]
    assert {"short", "long"} == set(made.trades["side"])
    assert made.equity.iloc[-1] == pytest.approx(10_000 + made.trades["pnl"].sum() + made.funding["amount"].sum())
    assert made.twice_costs.equity.iloc[-1] < made.equity.iloc[-1]
    assert made.twice_costs.orders["fee"].iloc[0] == pytest.approx(2 * made.orders["fee"].iloc[0], rel=0.01)
    assert len(made.buy_and_hold.orders) == 1


def test_the_venues_limits_are_the_replays_and_the_result_is_the_same_object(lake):
    lake.write("gate", "XRP/USDT", "1h", generate("XRP/USDT", "1h", START, 200, 3))
    strategy = cu.Strategy(
        lambda bars: (turning(bars) > 0).astype(float), symbols=["XRP/USDT"], timeframe="1h", warmup=20
    )
    free, limited = cu.run(strategy, capital=100), cu.run(strategy, capital=100, venue_limits=True)
    assert (free.engine, limited.engine) == ("vectorbt", "replay")
    assert len(limited.orders) == len(free.orders) > 4
    sold = limited.orders.loc[limited.orders["side"] == "sell", "quantity"]
    assert np.allclose(sold * 100, (sold * 100).round())
    assert cu.run(strategy, capital=2, venue_limits=True).orders.empty, "less than the venue takes"
    with pytest.raises(NotebookError, match="a spot account cannot be short"):
        cu.run(cu.Strategy(turning, symbols=["XRP/USDT"], timeframe="1h", warmup=20), venue_limits=True)


def test_a_run_may_name_the_bars_that_an_earlier_one_had(lake):
    frame = generate("XRP/USDT", "1h", START, 300, 3)
    lake.write("gate", "XRP/USDT", "1h", frame.iloc[:200])
    strategy = cu.Strategy(
        lambda bars: (turning(bars) > 0).astype(float), symbols=["XRP/USDT"], timeframe="1h", warmup=20
    )
    before = cu.run(strategy)
    lake.write("gate", "XRP/USDT", "1h", frame)
    assert len(cu.run(strategy).equity) == 280
    again = cu.run(strategy, data_version=before.data_version)
    assert again.metrics() == before.metrics()
