"""The execution rule by hand, and the statistics against vectorbt's own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

import cashup as cu
from cashup.errors import DataError, NotebookError, UsageError
from cashup.markets.importer import import_file
from cashup.markets.lake import Lake
from cashup.markets.synthetic import generate
from cashup.research.backtest import Backtest, backtest
from cashup.research.reporting.statistics import metrics, statistics
from cashup.research.result import Result
from cashup.research.rule import orders_from
from cashup.research.simulation import portfolio_of
from cashup.research.spec import RunSpec
from cashup.research.trades import ORDER_COLUMNS, empty_orders, equity_of, trades_of
from cashup.settings import load_settings
from cashup.strategies.bars import Bars
from cashup.strategies.strategy import Strategy

HOUR = 3_600_000
START = 1_735_689_600_000
REAL = Path(__file__).parents[3] / "shared" / "data"
SYMBOLS = ["BTC/USDT", "ETH/USDT", "XRP/USDT"]


def priced(opens: dict[str, list[float]]) -> Bars:
    """Bars whose close is the next open."""
    frames = []
    for prices in opens.values():
        opened = np.array(prices)
        close = np.append(opened[1:], opened[-1])
        frames.append([opened, np.maximum(opened, close), np.minimum(opened, close), close, np.ones(len(opened))])
    values = np.array(frames).transpose(1, 2, 0)
    return Bars(np.arange(values.shape[1], dtype=np.int64) * HOUR + START, list(opens), "1h", values)


def wanting(bars: Bars, targets: dict[str, list[float]], warmup: int = 0, **how) -> Strategy:
    frame = pd.DataFrame(targets, index=bars.index)
    return Strategy(lambda b: frame.loc[b.index], symbols=list(bars.symbols), timeframe="1h", warmup=warmup, **how)


def run(strategy: Strategy, bars: Bars, **how) -> Backtest:
    return backtest(strategy, bars, RunSpec(**({"capital": 1000.0, "fee": 0.0} | how)))


def rows(made: Backtest) -> list[tuple]:
    hours = (pd.DatetimeIndex(made.orders["timestamp"]).asi8 - START) // HOUR
    return list(zip(hours, made.orders["symbol"], made.orders["side"], made.orders["quantity"].round(9), strict=True))


def test_a_target_is_executed_at_the_open_of_the_next_bar():
    bars = priced({"A/B": [100, 50, 20, 40, 10]})
    made = run(wanting(bars, {"A/B": [0, 1, 1, 0, 0]}), bars)
    assert rows(made) == [(2, "A/B", "buy", 50.0), (4, "A/B", "sell", 50.0)]
    assert made.equity.tolist() == [1000, 1000, 2000, 500, 500]
    assert made.orders["price"].tolist() == [20, 10]


def test_the_last_bars_target_is_never_executed_and_the_first_may_be():
    bars = priced({"A/B": [100, 50, 25]})
    assert rows(run(wanting(bars, {"A/B": [1, 1, 0]}), bars)) == [(1, "A/B", "buy", 20.0)]


def test_an_order_is_made_only_when_the_target_changes():
    bars = priced({"A/B": [100, 50, 200, 100, 100, 100]})
    half = run(wanting(bars, {"A/B": [0.5, 0.5, 0.5, 0.5, 0.5, 0.5]}), bars)
    assert rows(half) == [(1, "A/B", "buy", 10.0)]


def test_nan_keeps_the_target():
    nan = float("nan")
    bars = priced({"A/B": [100, 100, 100, 100, 100, 100]})
    made = run(wanting(bars, {"A/B": [nan, 0.5, nan, 0.5, nan, 0]}), bars)
    assert rows(made) == [(2, "A/B", "buy", 5.0)]


def test_the_warm_up_decides_nothing():
    bars = priced({"A/B": [100, 100, 100, 100]})
    made = run(wanting(bars, {"A/B": [1, 1, 1, 1]}, warmup=2), bars)
    assert rows(made) == [(3, "A/B", "buy", 10.0)]
    assert made.equity.index[0] == bars.index[2]
    assert len(made.equity) == 2


def test_sells_pay_for_buys_and_small_buys_come_first():
    bars = priced({"A/B": [10] * 4, "C/B": [20] * 4, "D/B": [40] * 4})
    targets = {"A/B": [1, 0, 0, 0], "C/B": [0, 0.75, 0.75, 0.75], "D/B": [0, 0.25, 0.25, 0.25]}
    made = run(wanting(bars, targets), bars)
    assert rows(made) == [
        (1, "A/B", "buy", 100.0),
        (2, "A/B", "sell", 100.0),
        (2, "D/B", "buy", 6.25),
        (2, "C/B", "buy", 37.5),
    ]


def test_a_buy_is_limited_by_the_cash_that_is_there():
    bars = priced({"A/B": [10] * 3, "C/B": [20] * 3})
    made = run(wanting(bars, {"A/B": [0.5] * 3, "C/B": [0.5] * 3}), bars, fee=0.25)
    # 500 cost 625 with the fee; what is left of 1,000 buys 300 more.
    assert rows(made) == [(1, "A/B", "buy", 50.0), (1, "C/B", "buy", 15.0)]
    assert made.orders["fee"].tolist() == [125.0, 75.0]


def test_slippage_makes_both_sides_worse():
    bars = priced({"A/B": [100, 100, 100, 100]})
    made = run(wanting(bars, {"A/B": [0.5, 0, 0, 0]}), bars, slippage=0.1)
    assert made.orders["price"].tolist() == pytest.approx([110, 90])


def test_rebalance_trades_a_drifted_exposure_back():
    bars = priced({"A/B": [100, 100, 100, 104, 150, 150]})
    made = run(wanting(bars, {"A/B": [0.5] * 6}, rebalance=0.05), bars)
    # 5 units and 500 cash: at 104 the exposure is 0.51, at 150 it is 0.6, and half of 1,250 are 4.1667 units.
    assert rows(made) == [(1, "A/B", "buy", 5.0), (4, "A/B", "sell", round(5 - 625 / 150, 9))]


def test_a_short_target_is_refused_with_its_place():
    bars = priced({"A/B": [100] * 4})
    with pytest.raises(NotebookError, match=r"the target of A/B at 2025-01-01 02:00 is -0.5; a spot account"):
        run(wanting(bars, {"A/B": [0, 1, -0.5, 0]}), bars)


@pytest.fixture(scope="module")
def market() -> Bars:
    return Bars.join({symbol: generate(symbol, "1h", START, 3000, 11) for symbol in SYMBOLS}, "1h")


def momentum(bars: cu.Bars, lookback: int) -> pd.DataFrame:
    return (bars.close.pct_change(lookback).rank(axis=1) > 1).astype(float) / 2


@pytest.mark.parametrize("slippage", [0.0, 0.0007])
@pytest.mark.filterwarnings("ignore")
def test_equity_trades_and_statistics_are_vectorbts(market, slippage):
    strategy = Strategy(momentum, symbols=SYMBOLS, timeframe="1h", warmup=48, params={"lookback": 48})
    made = backtest(strategy, market, RunSpec(slippage=slippage))
    traded = market.rows(48, len(market))
    sizes = orders_from(strategy.targets(market).iloc[48:])
    closes, opens = traded.values[3].copy(), traded.values[0].copy()
    theirs = portfolio_of(closes, opens, sizes, 10_000.0, fee=0.001, slippage=slippage, freq="1h")

    np.testing.assert_allclose(made.equity, theirs.value(), rtol=1e-12)
    exits = theirs.exit_trades.records_readable.sort_values(["Column", "Exit Timestamp"])
    trades = made.trades.sort_values(["symbol", "exit_time"])
    assert len(trades) > 100
    for ours, label in {"quantity": "Size", "entry_price": "Avg Entry Price", "pnl": "PnL", "return": "Return"}.items():
        np.testing.assert_allclose(trades[ours], exits[label], rtol=1e-9, atol=1e-9)
    assert trades["entry_time"].tolist() == traded.index[exits["Entry Timestamp"].astype(int)].tolist()

    stats = made.stats()
    assert stats["SQN"] == pytest.approx(theirs.trades.closed.sqn(), rel=1e-9)
    for label, value in theirs.stats().drop(["Start", "End"]).items():  # vectorbt counts rows
        if isinstance(value, float):
            assert stats[label] == pytest.approx(value, rel=1e-9), label
        elif isinstance(value, pd.Timedelta):
            assert abs(stats[label] - value) < pd.Timedelta(milliseconds=1), label
        else:
            assert stats[label] == value, label


def test_statistics_by_hand():
    bars = priced({"A/B": [100, 100, 110, 99, 99]})
    made = run(wanting(bars, {"A/B": [1, 1, 0, 0, 0]}), bars)
    stats = made.stats()
    assert made.equity.tolist() == [1000, 1100, 990, 990, 990]
    assert stats["Total Return [%]"] == pytest.approx(-1)
    assert stats["Max Drawdown [%]"] == pytest.approx(10)
    assert stats["Exposure Time [%]"] == pytest.approx(40)
    assert stats["Total Trades"] == 1
    returns = np.array([0, 0.1, -0.1, 0, 0])
    assert stats["Sharpe Ratio"] == pytest.approx(returns.mean() / returns.std(ddof=1) * np.sqrt(365 * 24))
    assert made.metrics()["max_drawdown"] == pytest.approx(0.1)
    assert json.loads(json.dumps(made.metrics()))["profit_factor"] == 0.0


def test_a_run_that_never_traded_has_statistics_without_numbers():
    bars = priced({"A/B": [100, 101, 102]})
    made = run(wanting(bars, {"A/B": [0, 0, 0]}), bars)
    assert made.trades.empty
    assert made.equity.tolist() == [1000, 1000, 1000]
    figures = made.metrics()
    assert (figures["trades"], figures["total_return"], figures["win_rate"]) == (0, 0.0, None)
    assert isinstance(made.plot(), go.Figure)


def test_a_run_without_a_bar_has_a_report():
    nothing = pd.DataFrame({"A/B": []}, index=priced({"A/B": [1]}).index[:0])
    made = Result(
        equity=equity_of(empty_orders(), nothing, 5.0),
        orders=empty_orders(),
        close=nothing,
        timeframe="1h",
        capital=5.0,
    )
    assert made.stats()["End Value"] == 5.0
    assert made.metrics()["sharpe"] is None
    assert "0 trades" in repr(made)
    assert isinstance(made.plot(), go.Figure)


def test_partial_exits_take_their_share_of_cost_and_fees():
    bars = priced({"A/B": [10.0, 20.0, 30.0, 40.0]})
    orders = pd.DataFrame(
        [
            (bars.index[0], "A/B", "buy", 2.0, 10.0, 1.0),
            (bars.index[1], "A/B", "buy", 2.0, 20.0, 3.0),
            (bars.index[2], "A/B", "sell", 1.0, 30.0, 0.5),
        ],
        columns=["timestamp", "symbol", "side", "quantity", "price", "fee"],
    )
    trades = trades_of(orders, bars.close)
    assert trades["status"].tolist() == ["closed", "open"]
    assert trades["entry_price"].tolist() == [15.0, 15.0]
    assert trades["pnl"].tolist() == [30 - 15 - 1 - 0.5, 3 * (40 - 15) - 3]
    assert equity_of(orders, bars.close, 100.0).tolist() == [100 - 21 + 40, 36 + 120, 65.5 + 120, 65.5 + 120]


def test_the_picture_is_a_figure_and_small(market):
    strategy = Strategy(momentum, symbols=SYMBOLS, timeframe="1h", warmup=48, params={"lookback": 48})
    figure = backtest(strategy, market, RunSpec()).plot()
    assert type(figure) is go.Figure
    assert [trace.name for trace in figure.data] == ["Equity", "Drawdown [%]"]
    single = Bars(market.times, ["BTC/USDT"], "1h", market.values[:, :, :1])
    one = backtest(wanting(single, {"BTC/USDT": [1.0, 0.0] * 1500}), single, RunSpec()).plot()
    assert [trace.name for trace in one.data] == ["Close", "Buy", "Sell", "Equity", "Drawdown [%]"]
    assert len(one.data[1].x) == 1500
    assert len(figure.to_json()) < 1_000_000


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"capital": 0}, "capital must be above 0"),
        ({"fee": 1.5}, "the fee is a ratio"),
        ({"slippage": -0.1}, "the slippage is a ratio"),
        ({"start": "2025-02-01", "end": "2025-01-01"}, "lies not before the end"),
        ({"start": "yesterday"}, "is not a time"),
    ],
)
def test_a_run_spec_that_cannot_be_is_refused(changes, sentence):
    with pytest.raises(UsageError, match=sentence):
        RunSpec(**changes)


@pytest.fixture
def lake(tmp_path, monkeypatch) -> Lake:
    monkeypatch.setenv("CASHUP_HOME", str(tmp_path))
    return Lake(load_settings().lake_path)


def sma(bars: cu.Bars, fast: int, slow: int) -> pd.DataFrame:
    return (bars.close.rolling(fast).mean() > bars.close.rolling(slow).mean()).astype(float)


def crossing(symbol: str = "BTC/USDT", warmup: int = 30) -> cu.Strategy:
    return cu.Strategy(sma, symbols=[symbol], timeframe="1h", warmup=warmup, params={"fast": 10, "slow": 30})


def test_cu_run_takes_its_bars_from_the_lake(lake):
    lake.write("gate", "BTC/USDT", "1h", generate("BTC/USDT", "1h", START, 500, 1))
    made = cu.run(crossing(), start="2025-01-05", end="2025-01-10", capital=500)
    assert isinstance(made, cu.Backtest)
    assert [str(made.equity.index[at]) for at in (0, -1)] == ["2025-01-05 00:00:00+00:00", "2025-01-09 23:00:00+00:00"]
    assert made.equity.iloc[0] == 500
    with pytest.raises(DataError, match="needs 30 bars"):
        cu.run(crossing(), start="2025-01-02")
    with pytest.raises(DataError, match="no 1h bars of ETH/USDT"):
        cu.run(crossing("ETH/USDT"))


def test_what_the_run_was_told_wins_over_the_notebook(lake, tmp_path, monkeypatch):
    lake.write("other", "BTC/USDT", "1h", generate("BTC/USDT", "1h", START, 500, 1))
    told = tmp_path / "run.json"
    RunSpec(exchange="other", capital=77, result_path=str(tmp_path / "result.json")).write(told)
    monkeypatch.setenv("CASHUP_RUN", str(told))
    made = cu.run(crossing(), exchange="gate", capital=5)
    assert made.capital == 77
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["data_version"] == made.data_version
    beside = {name: written["metrics"].pop(f"{name}_return") for name in ("buy_and_hold", "twice_costs")}
    assert beside["twice_costs"] == pytest.approx(made.twice_costs.metrics()["total_return"])
    assert written["metrics"] == made.metrics()


def test_the_data_version_changes_when_a_bar_changes(lake):
    frame = generate("BTC/USDT", "1h", START, 500, 1)
    lake.write("gate", "BTC/USDT", "1h", frame)
    before = cu.run(crossing()).data_version
    frame.iloc[250, 4] += 1e-4
    lake.write("gate", "BTC/USDT", "1h", frame)
    assert cu.run(crossing()).data_version != before


@pytest.mark.real
@pytest.mark.skipif(not REAL.is_dir(), reason="the real bars are not there: ../shared/data is missing")
def test_a_real_year(lake):
    for file, symbol in (
        ("ETHUSDT_1h.csv", "ETH/USDT"),
        ("XRPUSDT_1h.csv", "XRP/USDT"),
        ("BTC_USDT_1h.csv", "BTC/USDT"),
    ):
        import_file(lake, REAL / file, "gate", symbol, "1h")
    year = {"start": "2025-01-01", "end": "2026-01-01", "fee": 0.001}
    one = cu.run(crossing("ETH/USDT"), **year)
    assert len(one.equity) == 8760
    # Found by vectorbt alone, with the signals shifted by one bar by hand.
    assert one.metrics()["final_equity"] == pytest.approx(4579.900673891795, rel=1e-9)
    assert (len(one.orders), len(one.trades)) == (353, 177)
    three = cu.run(
        cu.Strategy(
            momentum, symbols=["ETH/USDT", "XRP/USDT", "BTC/USDT"], timeframe="1h", warmup=48, params={"lookback": 48}
        ),
        **year,
    )
    assert len(three.equity) == 8760
    assert three.equity.iloc[-1] == pytest.approx(10_000 + three.trades["pnl"].sum(), rel=1e-9)
    assert os.environ.get("CASHUP_RUN") is None


def test_metrics_come_from_the_statistics():
    bars = priced({"A/B": [100, 100, 110, 99, 99]})
    made = run(wanting(bars, {"A/B": [1, 1, 0, 0, 0]}), bars)
    again = statistics(made.equity, made.orders, made.trades, made.close, pd.Timedelta(hours=1), 1000.0)
    assert metrics(again) == made.metrics()


def test_dust_that_a_venue_leaves_does_not_keep_a_trade_open() -> None:
    times = pd.date_range("2025-01-01", periods=6, freq="h", tz="UTC", unit="ms", name="timestamp")
    close = pd.DataFrame({"ETH/USDT": [100.0, 110.0, 120.0, 100.0, 90.0, 95.0]}, index=times)
    orders = pd.DataFrame(
        [
            (times[1], "ETH/USDT", "buy", 0.99905, 100.0, 0.0),
            (times[2], "ETH/USDT", "sell", 0.999, 110.0, 0.0),
            (times[4], "ETH/USDT", "buy", 0.99905, 100.0, 0.0),
            (times[5], "ETH/USDT", "sell", 0.9991, 90.0, 0.0),
        ],
        columns=list(ORDER_COLUMNS[:6]),
    )
    trades = trades_of(orders, close)
    assert list(trades["entry_time"]) == [times[1], times[4]]
    assert list(trades["status"]) == ["closed", "closed"]
