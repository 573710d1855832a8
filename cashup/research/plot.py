"""The picture of a run: a plotly `Figure`, never a widget, which would carry megabytes of script into a notebook."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
from plotly.subplots import make_subplots

from cashup.research.statistics import drawdown_of

POINTS = 5_000
"""More points than this are not drawn: a picture has fewer pixels, and the notebook keeps every one of them."""

BLUE, RED, GREEN, GREY = "#1f6feb", "#cf222e", "#1a7f37", "#8b949e"


def figure(
    equity: pd.Series[float], orders: pd.DataFrame, close: pd.DataFrame, *, capital: float, title: str
) -> go.Figure:
    """Equity and drawdown; above them, for one symbol, the close with its entries and exits."""
    # The mime type alone: JupyterLab and Voila draw it, and the script is not copied into every executed notebook.
    pio.renderers.default = "plotly_mimetype"
    single = len(close.columns) == 1
    heights = [0.45, 0.35, 0.2] if single else [0.7, 0.3]
    made = make_subplots(rows=len(heights), cols=1, shared_xaxes=True, vertical_spacing=0.03, row_heights=heights)
    if single:
        _draw_trades(made, orders, close.iloc[:, 0])
    row = len(heights) - 1
    drawdown = drawdown_of(equity, capital) * 100
    made.add_trace(_line(equity, "Equity", BLUE), row=row, col=1)
    made.add_trace(_line(drawdown, "Drawdown [%]", RED, fill="tozeroy"), row=row + 1, col=1)
    made.update_yaxes(title_text="Equity", row=row, col=1)
    made.update_yaxes(title_text="Drawdown [%]", row=row + 1, col=1)
    made.update_layout(
        title=title,
        template="plotly_white",
        height=260 * len(heights),
        margin={"l": 60, "r": 20, "t": 50, "b": 30},
        legend={"orientation": "h", "y": 1.02, "x": 1, "xanchor": "right", "yanchor": "bottom"},
    )
    return made


def _draw_trades(made: go.Figure, orders: pd.DataFrame, close: pd.Series[float]) -> None:
    made.add_trace(_line(close, "Close", GREY), row=1, col=1)
    made.update_yaxes(title_text=str(close.name), row=1, col=1)
    for side, shape, colour in (("buy", "triangle-up", GREEN), ("sell", "triangle-down", RED)):
        done = orders[orders["side"] == side]
        markers = go.Scatter(
            x=pd.DatetimeIndex(done["timestamp"]).tz_localize(None).to_numpy(),
            y=done["price"].to_numpy(),
            mode="markers",
            name=side.capitalize(),
            marker={"symbol": shape, "color": colour, "size": 7},
        )
        made.add_trace(markers, row=1, col=1)


def _line(series: pd.Series[float], name: str, colour: str, **more: Any) -> go.Scatter:
    kept = _thin(series)
    # numpy arrays without a zone (UTC) are passed to the browser as they are; lists of stamps take 20 times as long.
    times = pd.DatetimeIndex(kept.index).tz_localize(None).to_numpy()
    return go.Scatter(x=times, y=kept.to_numpy(), name=name, line={"color": colour, "width": 1.2}, **more)


def _thin(series: pd.Series[float]) -> pd.Series[float]:
    """At most POINTS points, keeping the lowest and highest of every stretch, and both ends."""
    if len(series) <= POINTS:
        return series
    stretches = np.array_split(np.arange(len(series)), POINTS // 2 - 1)
    values = series.to_numpy()
    kept = {0, len(series) - 1}
    for stretch in stretches:
        kept.add(int(stretch[values[stretch].argmin()]))
        kept.add(int(stretch[values[stretch].argmax()]))
    return series.iloc[sorted(kept)]
