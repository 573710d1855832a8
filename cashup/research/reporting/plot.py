"""The pictures of a run by name, and the one that shows the most at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cashup.errors import UsageError
from cashup.research.reporting import charts
from cashup.research.reporting.style import BLUE, GREEN, GREY, RED, line, naive, styled

if TYPE_CHECKING:
    from cashup.research.performance import Performance

MARKERS = 1_500
"""Of more orders than this on one side, evenly chosen ones are drawn, and the legend says how many."""


def overview(result: Performance) -> go.Figure:
    """Equity and drawdown; above them, for one symbol, the close with its entries and exits."""
    single = len(result.close.columns) == 1
    heights = [0.45, 0.35, 0.2] if single else [0.7, 0.3]
    made = make_subplots(rows=len(heights), cols=1, shared_xaxes=True, vertical_spacing=0.03, row_heights=heights)
    if single:
        _draw_orders(made, result.orders, result.close.iloc[:, 0])
    row = len(heights) - 1
    made.add_trace(line(result.equity, "Equity", BLUE), row=row, col=1)
    made.add_trace(line(result.drawdown * 100, "Drawdown [%]", RED, fill="tozeroy"), row=row + 1, col=1)
    made.update_yaxes(title_text="Equity", row=row, col=1)
    made.update_yaxes(title_text="Drawdown [%]", row=row + 1, col=1)
    return styled(made, result.heading, 260 * len(heights), hovermode="closest")


KINDS: dict[str, Callable[..., go.Figure]] = {
    "overview": overview,
    "equity": charts.equity,
    "drawdown": charts.drawdown,
    "monthly": charts.monthly,
    "rolling": charts.rolling,
    "trades": charts.trades,
    "distribution": charts.distribution,
    "exposure": charts.exposure,
}


def figure(result: Performance, kind: str, **options: Any) -> go.Figure:
    """The picture `kind` of `result`; raises UsageError for a kind or an option that is not there."""
    if kind not in KINDS:
        raise UsageError(f"there is no picture {kind!r}; there are {', '.join(KINDS)}")
    if options and kind != "trades":
        raise UsageError(
            f"the picture {kind!r} takes no {', '.join(options)}; only 'trades' takes symbol, start and end"
        )
    return KINDS[kind](result, **options)


def _draw_orders(made: go.Figure, orders: pd.DataFrame, close: pd.Series[float]) -> None:
    made.add_trace(line(close, "Close", GREY), row=1, col=1)
    made.update_yaxes(title_text=str(close.name), row=1, col=1)
    for side, shape, colour in (("buy", "triangle-up", GREEN), ("sell", "triangle-down", RED)):
        done = orders[orders["side"] == side]
        name = side.capitalize()
        if len(done) > MARKERS:
            name += f" ({MARKERS:,} of {len(done):,})"
            done = done.iloc[np.linspace(0, len(done) - 1, MARKERS).astype(int)]
        markers = go.Scatter(
            x=naive(done["timestamp"]),
            y=done["price"].to_numpy(),
            mode="markers",
            name=name,
            marker={"symbol": shape, "color": colour, "size": 7},
        )
        made.add_trace(markers, row=1, col=1)
