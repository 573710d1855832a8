"""One picture of a run per function: equity, drawdown, months, rolling figures, distributions, exposure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from cashup.research.reporting.candles import trades as trades  # one of the pictures
from cashup.research.reporting.monthly import daily_returns, monthly_returns
from cashup.research.reporting.rolling import rolling as rolling_figures
from cashup.research.reporting.rolling import span_text
from cashup.research.reporting.statistics import returns_of
from cashup.research.reporting.style import AMBER, BLUE, GREY, PALETTE, RED, averaged, line, styled

if TYPE_CHECKING:
    from cashup.research.performance import Performance

PALE_RED = "rgba(207, 34, 46, 0.15)"
MOST_SYMBOLS = 7
"""More lines than this in one picture tell nothing."""


def equity(result: Performance) -> go.Figure:
    """Equity beside buying and holding the symbols in equal parts, with a switch to a log scale; drawdown below."""
    made = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.04, row_heights=[0.72, 0.28])
    made.add_trace(line(result.benchmark, "Buy and hold", GREY), row=1, col=1)
    made.add_trace(line(result.equity, "Equity", BLUE, width=1.8), row=1, col=1)
    made.add_trace(_under_water(result), row=2, col=1)
    made.update_yaxes(title_text="Equity", row=1, col=1)
    made.update_yaxes(title_text="Drawdown [%]", row=2, col=1)
    return styled(made, result.heading, 480, updatemenus=[_scale_switch()])


def drawdown(result: Performance) -> go.Figure:
    """How far equity is below its best value so far, in percent, with the five deepest drawdowns shaded."""
    made = go.Figure([_under_water(result)])
    for start, _, end, *_ in result.drawdowns().itertuples(index=False, name=None):
        ends = [moment.tz_localize(None) for moment in (start, result.equity.index[-1] if end is pd.NaT else end)]
        made.add_vrect(x0=ends[0], x1=ends[1], fillcolor=AMBER, opacity=0.12, line_width=0)
    return styled(made.update_yaxes(title_text="Drawdown [%]"), result.heading, 300)


def monthly(result: Performance) -> go.Figure:
    """The return of every month and year in percent, as a heat map."""
    table = monthly_returns(result.equity, result.capital) * 100
    values = table.to_numpy()
    widest = float(np.nanmax(np.abs(values[:, :-1]), initial=1.0))
    made = go.Heatmap(
        z=values,
        x=list(table.columns),
        y=[str(year) for year in table.index],
        text=[["" if np.isnan(value) else f"{value:+.1f}" for value in row] for row in values],
        texttemplate="%{text}",
        hovertemplate="%{y} %{x}: %{text} %<extra></extra>",
        colorscale=[[0, "#e5737b"], [0.5, "#f6f8fa"], [1, "#5fb57a"]],
        zmid=0,
        zmin=-widest,
        zmax=widest,
        showscale=False,
        xgap=2,
        ygap=2,
    )
    made = go.Figure(made).update_yaxes(autorange="reversed", type="category").update_xaxes(side="top")
    title = f"{result.heading}: return by month [%]"
    margin = {"l": 56, "r": 16, "t": 78, "b": 16}
    return styled(made, title, 110 + 30 * max(len(table), 1), hovermode="closest", margin=margin)


def rolling(result: Performance) -> go.Figure:
    """Sharpe ratio and volatility over a moving window, both annualised."""
    found = rolling_figures(result.equity, result.capital, result.bar)
    made = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.05)
    made.add_trace(line(found.sharpe.dropna(), "Sharpe ratio", BLUE), row=1, col=1)
    made.add_trace(line(found.volatility.dropna() * 100, "Volatility [%]", AMBER), row=2, col=1)
    made.add_hline(y=0, line={"color": GREY, "width": 1, "dash": "dot"}, row=1, col=1)
    made.update_yaxes(title_text="Sharpe", row=1, col=1).update_yaxes(title_text="Volatility [%]", row=2, col=1)
    title = f"{result.heading}: rolling {span_text(found.window)}"
    return styled(made, title, 380, showlegend=False, meta=span_text(found.window))


def distribution(result: Performance) -> go.Figure:
    """How the returns of bars, days and trades are spread, in percent; the dotted line is their mean.

    Bars and days without a movement, most of them without a position, are left out.
    """
    closed = result.trades[result.trades["status"] == "closed"]
    kinds = {
        "Bars": returns_of(result.equity, result.capital),
        "Days": daily_returns(result.equity, result.capital).to_numpy(),
        "Trades": closed["return"].to_numpy(dtype=np.float64),
    }
    kinds = {name: values[values != 0] for name, values in kinds.items()}
    made = make_subplots(rows=1, cols=3, subplot_titles=[f"{name} ({len(v):,})" for name, v in kinds.items()])
    for column, (name, returns) in enumerate(kinds.items(), start=1):
        if len(returns):
            made.add_trace(_bars_of(returns * 100, name), row=1, col=column)
            mean = float(returns.mean()) * 100
            made.add_vline(x=mean, line={"color": GREY, "dash": "dot", "width": 1.2}, row=1, col=column)
        made.update_xaxes(title_text="return [%]", row=1, col=column)
    return styled(made, f"{result.heading}: returns", 320, showlegend=False, bargap=0.02, hovermode="closest")


def exposure(result: Performance) -> go.Figure:
    """Positions as percent of the equity at the closes: net, gross, and each symbol's when there are a few.

    Of a long run each point is the mean of several bars; the axis says of how many.
    """
    found = result.exposure() * 100
    made = go.Figure()
    if 1 < len(found.columns) <= MOST_SYMBOLS:
        for number, symbol in enumerate(found.columns):
            colour = PALETTE[(number + 1) % len(PALETTE)]
            made.add_trace(line(averaged(found[symbol])[0], str(symbol), colour, width=0.9, opacity=0.75))
    gross, size = averaged(found.abs().sum(axis=1))
    made.add_trace(line(gross, "Gross", GREY, line_shape="hv"))
    made.add_trace(line(averaged(found.sum(axis=1))[0], "Net", BLUE, line_shape="hv"))
    made.update_yaxes(title_text="Exposure [%]" if size == 1 else f"Exposure [%], mean of {size:,} bars")
    return styled(made, f"{result.heading}: exposure", 300)


def _under_water(result: Performance) -> go.Scatter:
    return line(result.drawdown * 100, "Drawdown [%]", RED, fill="tozeroy", fillcolor=PALE_RED, showlegend=False)


def _scale_switch() -> dict[str, object]:
    """Two buttons: linear and log."""
    buttons = [
        {"label": name, "method": "relayout", "args": [{"yaxis.type": kind}]}
        for name, kind in (("Linear", "linear"), ("Log", "log"))
    ]
    # One grey for the buttons: they stand on white and on black.
    place = {
        "bgcolor": "rgba(0,0,0,0)",
        "bordercolor": GREY,
        "borderwidth": 1,
        "x": 0,
        "xanchor": "left",
        "y": 1.02,
        "yanchor": "bottom",
        "direction": "right",
        "type": "buttons",
    }
    return place | {
        "buttons": buttons,
        "pad": {"b": 0, "t": 0},
        "font": {"size": 11, "color": GREY},
        "showactive": False,
    }


def _bars_of(values: NDArray[np.float64], name: str) -> go.Bar:
    """A histogram, counted here: the picture holds the bars and not the values. The farthest 0.5 % go to the ends."""
    low, high = np.percentile(values, [0.25, 99.75]) if len(values) > 400 else (values.min(), values.max())
    if high <= low:
        low, high = low - 0.5, high + 0.5
    counts, edges = np.histogram(np.clip(values, low, high), bins=50, range=(low, high))
    middle = (edges[1:] + edges[:-1]) / 2
    colours = np.where(middle < 0, RED, "#2da44e").tolist()
    return go.Bar(x=middle, y=counts, name=name, marker={"color": colours, "line": {"width": 0}})
