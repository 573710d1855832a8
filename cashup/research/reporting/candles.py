"""Trades on candles: a stretch of the bars with what was bought and sold in it, and why."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cashup.clock import parse_time
from cashup.errors import UsageError
from cashup.research.reporting.style import GREEN, GREY, RED, line, naive, styled
from cashup.research.reporting.tradestats import sides_of

if TYPE_CHECKING:
    from cashup.research.performance import Performance

NEWEST = 300
"""Bars that are shown when no stretch is asked for."""
CANDLES = 600
"""More candles than this in one picture are joined, several bars to one."""
MARKERS = 600


def trades(
    result: Performance,
    symbol: str | None = None,
    start: str | datetime | None = None,
    end: str | datetime | None = None,
) -> go.Figure:
    """Candles of `symbol` (default: the first) from `start` to `end` (UTC, half-open; default: the newest 300 bars).

    Entries and exits stand at the bar of their execution, with price, quantity and reason under the mouse; a dotted
    line joins each trade. More than 600 bars are joined to fewer candles. Raises UsageError for an unknown symbol and
    for a stretch without a bar.
    """
    symbol = str(result.close.columns[0]) if symbol is None else symbol
    if symbol not in result.close.columns:
        raise UsageError(f"the run has no {symbol}; it has {', '.join(map(str, result.close.columns))}")
    rows = _rows(result, start, end)
    times = result.close.index[rows]
    made = go.Figure([_candles(result, symbol, rows)])
    within = _between(result.orders, "timestamp", times, symbol)
    made.add_traces([_joined(result, symbol, times)])
    for side, shape, colour in (("buy", "triangle-up", GREEN), ("sell", "triangle-down", RED)):
        made.add_trace(_markers(within[within["side"] == side], side, shape, colour))
    made.update_xaxes(rangeslider_visible=False).update_yaxes(title_text=symbol)
    return styled(made, f"{symbol} {result.timeframe}, {result.title}: trades", 440, hovermode="closest")


def joined_candles(prices: pd.DataFrame, count: int = CANDLES) -> pd.DataFrame:
    """`prices` (columns `open high low close`) in at most `count` candles, each of the same number of bars."""
    size = -(-len(prices) // count)
    if size <= 1:
        return prices
    first = np.arange(0, len(prices), size)
    last = np.minimum(first + size, len(prices)) - 1
    values = {name: prices[name].to_numpy() for name in prices.columns}
    made = {
        "open": values["open"][first],
        "high": np.maximum.reduceat(values["high"], first),
        "low": np.minimum.reduceat(values["low"], first),
        "close": values["close"][last],
    }
    return pd.DataFrame(made, index=prices.index[first])


def _rows(result: Performance, start: str | datetime | None, end: str | datetime | None) -> slice:
    index = result.close.index
    if start is None and end is None:
        return slice(max(len(index) - NEWEST, 0), len(index))
    first = 0 if start is None else int(index.searchsorted(_moment(start)))
    last = len(index) if end is None else int(index.searchsorted(_moment(end)))
    if first >= last:
        raise UsageError(f"the run has no bar from {start or 'its start'} to {end or 'its end'}")
    return slice(first, last)


def _moment(when: str | datetime) -> pd.Timestamp:
    text = when.isoformat() if isinstance(when, datetime) else when
    return pd.Timestamp(parse_time(text), unit="ms", tz="UTC")


def _candles(result: Performance, symbol: str, rows: slice) -> go.Candlestick | go.Scatter:
    """Candles, or the closes as a line where a run knows no more of its bars."""
    if result.bars is None:
        return line(result.close[symbol].iloc[rows], "Close", GREY)
    frames = {name: getattr(result.bars, name)[symbol].iloc[rows] for name in ("open", "high", "low", "close")}
    prices = joined_candles(pd.DataFrame(frames))
    colours = {
        f"{way}_{part}": colour
        for way, colour in (("increasing", "#7fb8a4"), ("decreasing", "#d99a9e"))
        for part in ("line_color", "fillcolor")
    }
    values = {name: prices[name].to_numpy() for name in prices.columns}
    return go.Candlestick(x=naive(prices.index), **values, name=symbol, line_width=1, showlegend=False, **colours)


def _between(rows: pd.DataFrame, column: str, times: pd.Index[pd.Timestamp], symbol: str) -> pd.DataFrame:
    if not len(times):
        return rows.iloc[:0]
    return rows[(rows["symbol"] == symbol) & (rows[column] >= times[0]) & (rows[column] <= times[-1])]


def _markers(orders: pd.DataFrame, side: str, shape: str, colour: str) -> go.Scatter:
    name = side.capitalize()
    if len(orders) > MARKERS:
        name += f" ({MARKERS:,} of {len(orders):,})"
        orders = orders.iloc[np.linspace(0, len(orders) - 1, MARKERS).astype(int)]
    reasons = orders["reason"] if "reason" in orders else pd.Series("target", index=orders.index)
    text = [
        f"{reason.replace('_', ' ')}: {quantity:.6g} at {price:.6g}"
        for reason, quantity, price in zip(reasons, orders["quantity"], orders["price"], strict=True)
    ]
    # A stop is no decision of the target: it is drawn hollow.
    stops = reasons.isin(["stop_loss", "take_profit", "trailing_stop"])
    return go.Scatter(
        x=naive(orders["timestamp"]),
        y=orders["price"].to_numpy(),
        mode="markers",
        name=name,
        text=text,
        hovertemplate="%{x|%Y-%m-%d %H:%M}<br>%{text}<extra>" + name + "</extra>",
        marker={
            "symbol": [f"{shape}-open" if stop else shape for stop in stops],
            "color": colour,
            "size": 10,
            "line": {"width": 1.2, "color": colour},
        },
    )


def _joined(result: Performance, symbol: str, times: pd.Index[pd.Timestamp]) -> go.Scatter:
    """A dotted line from each entry to its exit: one trace with holes."""
    done = _between(result.trades, "exit_time", times, symbol).tail(MARKERS)
    begin = times[0] if len(times) else pd.NaT
    done = done[done["entry_time"] >= begin]
    count = len(done)
    xs = np.full((count, 3), np.datetime64("NaT"), dtype="datetime64[ms]")
    ys = np.full((count, 3), np.nan)
    for column, end in enumerate(("entry", "exit")):
        xs[:, column] = naive(done[f"{end}_time"])
        ys[:, column] = done[f"{end}_price"].to_numpy()
    label = "Short trade" if (sides_of(done) == "short").all() and count else "Trade"
    return go.Scatter(
        x=xs.ravel(), y=ys.ravel(), mode="lines", name=label, line={"color": GREY, "dash": "dot"}, hoverinfo="skip"
    )
