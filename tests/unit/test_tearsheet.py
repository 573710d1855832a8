"""The pictures are small, the page needs nothing else, and a notebook shows what it should."""

from __future__ import annotations

import re
import struct

import nbformat
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from nbclient import NotebookClient

from cashup.errors import UsageError
from cashup.markets.lake import Lake
from cashup.markets.synthetic import generate
from cashup.research.backtest import Backtest, backtest
from cashup.research.reporting.candles import joined_candles
from cashup.research.reporting.plot import KINDS
from cashup.research.reporting.style import POINTS, averaged, thin
from cashup.research.result import Result
from cashup.research.spec import RunSpec
from cashup.research.trades import empty_orders
from cashup.strategies.bars import Bars
from cashup.strategies.strategy import Strategy

START = 1_735_689_600_000
LIGHT = 300_000
"""Bytes of JSON that a picture may have, whatever the number of bars."""


def crossing(bars: Bars) -> pd.DataFrame:
    up = bars.close.rolling(10).mean() > bars.close.rolling(30).mean()
    return up.astype(float) / len(bars.symbols)


def market_run(symbols: list[str], count: int, timeframe: str = "1h") -> Backtest:
    bars = Bars.join({symbol: generate(symbol, timeframe, START, count, 11) for symbol in symbols}, timeframe)
    return backtest(Strategy(crossing, symbols=symbols, timeframe=timeframe, warmup=30), bars, RunSpec())


@pytest.fixture(scope="module")
def one() -> Backtest:
    return market_run(["BTC/USDT"], 60_000, "1m")


@pytest.fixture(scope="module")
def three() -> Backtest:
    return market_run(["BTC/USDT", "ETH/USDT", "XRP/USDT"], 3000)


@pytest.mark.parametrize("kind", KINDS)
def test_every_picture_is_a_light_figure(one, three, kind):
    for made in (one, three):
        figure = made.plot(kind)
        assert type(figure) is go.Figure
        assert 2_000 < len(figure.to_json()) < LIGHT
        assert sum(len(trace.x) for trace in figure.data) > 0


def test_an_unknown_picture_or_symbol_is_refused_with_what_there_is(one):
    with pytest.raises(UsageError, match=r"no picture 'cake'; there are overview, equity"):
        one.plot("cake")
    with pytest.raises(UsageError, match=r"only 'trades' takes"):
        one.plot("equity", symbol="BTC/USDT")
    with pytest.raises(UsageError, match=r"the run has no X/Y; it has BTC/USDT"):
        one.plot("trades", symbol="X/Y")
    with pytest.raises(UsageError, match=r"no bar from 2031-01-01 to its end"):
        one.plot("trades", start="2031-01-01")


def test_thinning_keeps_the_extremes_and_both_ends():
    values = np.zeros(100_000)
    values[[0, 40_123, 70_777, -1]] = [1.0, 9.0, -9.0, 2.0]
    kept = thin(pd.Series(values))
    assert len(kept) <= POINTS
    assert {1.0, 9.0, -9.0, 2.0} <= set(kept)
    means, size = averaged(pd.Series(np.arange(1000.0)), 100)
    assert (len(means), size, means.iloc[-1]) == (100, 10, 994.5)


def test_joined_candles_hold_every_high_and_low(one):
    prices = pd.DataFrame({name: getattr(one.bars, name)["BTC/USDT"] for name in ("open", "high", "low", "close")})
    joined = joined_candles(prices, 100)
    assert len(joined) == 100
    assert (joined["high"].max(), joined["low"].min()) == (prices["high"].max(), prices["low"].min())
    assert joined["open"].iloc[0] == prices["open"].iloc[0]
    assert joined["close"].iloc[-1] == prices["close"].iloc[-1]


def test_trades_stand_on_the_candles_of_the_stretch_that_is_asked_for(three):
    figure = three.plot("trades", symbol="ETH/USDT", start="2025-02-01", end="2025-02-08")
    candles, _, bought, sold = figure.data
    assert (candles.type, len(candles.x)) == ("candlestick", 7 * 24)
    inside = three.orders[
        (three.orders["symbol"] == "ETH/USDT")
        & (three.orders["timestamp"] >= pd.Timestamp("2025-02-01", tz="UTC"))
        & (three.orders["timestamp"] < pd.Timestamp("2025-02-08", tz="UTC"))
    ]
    assert len(bought.x) + len(sold.x) == len(inside) > 3
    assert bought.text[0].startswith("target: ")


def test_the_page_needs_nothing_else(three, tmp_path):
    page = three.save(tmp_path / "run.html").read_text()
    assert page.count("plotly.js v") == 1
    without_plotly = re.sub(r"<script>/\*\*.*?</script>", "", page, flags=re.DOTALL)
    assert "src=" not in without_plotly
    assert not re.findall(r"<link|https?://(?!www\.w3\.org)", without_plotly)
    for heading in ("Beside it", "Return by month [%]", "Deepest drawdowns", "Costs", "Symbols", "Made of"):
        assert f"<h2>{heading}</h2>" in page
    assert "Twice the costs" in page
    assert f"{three.twice_costs.stats()['Total Return [%]']:+,.2f} %" in page
    assert three.data_version in page


def test_the_picture_file_is_a_png_of_a_readable_size(three, tmp_path):
    data = three.save(tmp_path / "run.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    assert width >= 1000
    assert height >= 1000
    with pytest.raises(UsageError, match=r"\.html or \.png; run\.pdf is neither"):
        three.save(tmp_path / "run.pdf")


def test_a_run_without_a_bar_has_a_page_a_picture_and_a_card(tmp_path):
    nothing = pd.DataFrame({"A/B": []}, index=pd.DatetimeIndex([], dtype="datetime64[ms, UTC]"), dtype=float)
    equity = pd.Series([], index=nothing.index, dtype=float)
    made = Result(equity=equity, orders=empty_orders(), close=nothing, timeframe="1h", capital=5.0)
    assert "<h2>Costs</h2>" in made.save(tmp_path / "empty.html").read_text()
    assert made.save(tmp_path / "empty.png").stat().st_size > 1000
    assert "no bars" in made._repr_html_()


def test_a_comparison_has_the_figures_of_each_and_curves_that_start_at_one(one, three):
    found = one.compare(three, names=["one", "three"])
    assert found.table.loc["cagr"].tolist() == [one.metrics()["cagr"], three.metrics()["cagr"]]
    figure = found.plot()
    assert [trace.name for trace in figure.data] == ["one", "three"]
    assert all(trace.y[0] == 1.0 for trace in figure.data)
    with pytest.raises(UsageError, match=r"2 runs take 2 different names"):
        one.compare(three, names=["one"])
    assert list(one.compare(one).table.columns) == ["BTC/USDT 1m, backtest (1)", "BTC/USDT 1m, backtest (2)"]


def test_completion_shows_what_a_quant_can_use(one):
    names = dir(one)
    assert {"stats", "plot", "tear_sheet", "save", "compare", "monthly", "drawdowns", "exposure", "trades"} <= set(
        names
    )
    assert not [name for name in names if name.startswith("_")]
    missing = [name for name in names if callable(getattr(type(one), name, None)) and not getattr(one, name).__doc__]
    assert not missing


CELLS = (
    """
import cashup as cu
def target(bars):
    return (bars.close.rolling(10).mean() > bars.close.rolling(30).mean()).astype(float)
run = cu.run(cu.Strategy(target, symbols=["BTC/USDT"], timeframe="1h", warmup=30))
""",
    "run",
    "run.plot('equity')",
    "run.tear_sheet()",
    "run.compare(run)",
)


def test_a_notebook_shows_a_card_pictures_and_a_light_tear_sheet(tmp_path, monkeypatch):
    Lake(tmp_path / "home" / "lake").write("gate", "BTC/USDT", "1h", generate("BTC/USDT", "1h", START, 3000, 1))
    monkeypatch.setenv("CASHUP_HOME", str(tmp_path / "home"))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    NotebookClient(notebook, timeout=180, resources={"metadata": {"path": str(tmp_path)}}).execute()
    ran, card, picture, sheet, comparison = (cell["outputs"] for cell in notebook.cells)
    assert ran == []
    assert "<svg" in card[0]["data"]["text/html"]
    assert card[0]["data"]["text/plain"].startswith("<Backtest BTC/USDT 1h")
    assert set(picture[0]["data"]) == {"application/vnd.plotly.v1+json"}
    kinds = [next(iter(output["data"])) for output in sheet]
    assert kinds.count("application/vnd.plotly.v1+json") == 5
    assert any("Return by month" in output["data"].get("text/html", "") for output in sheet)
    assert "sharpe" in comparison[0]["data"]["text/html"]
    assert len(nbformat.writes(notebook)) < 1_500_000
