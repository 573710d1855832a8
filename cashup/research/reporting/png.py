"""A tear sheet as a picture: drawn by matplotlib without a screen or a browser, from the same figures as the page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cashup.research.reporting.card import HEADLINES
from cashup.research.reporting.format import shown
from cashup.research.reporting.monthly import daily_returns
from cashup.research.reporting.rolling import rolling, span_text
from cashup.research.reporting.style import AMBER, BLUE, GREY, RED, averaged, naive, thin

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cashup.research.performance import Performance

INCHES, DPI = (11.0, 13.0), 110
PALE = "#e6eaef"


def write_png(result: Performance, path: Path, *, title: str) -> None:
    """Write the picture: headline figures, equity, drawdown, months, rolling figures, daily returns, exposure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=INCHES, dpi=DPI, layout="constrained")
    FigureCanvasAgg(made)
    rows = made.add_gridspec(6, 2, height_ratios=[0.55, 3, 1.2, _height_of_months(result), 1.6, 1.6])
    _headlines(made.add_subplot(rows[0, :]), result, title)
    if len(result.equity):
        _draw(made, rows, result)
    made.savefig(path, format="png")


def _draw(made: Figure, rows: Any, result: Performance) -> None:
    equity, drawdown = made.add_subplot(rows[1, :]), made.add_subplot(rows[2, :])
    _line(equity, result.benchmark, GREY, "Buy and hold")
    _line(equity, result.equity, BLUE, "Equity")
    equity.legend(loc="upper left", frameon=False, ncols=2, fontsize=9)
    under = thin(result.drawdown * 100)
    drawdown.fill_between(naive(under.index), under.to_numpy(), 0, color=RED, alpha=0.25, linewidth=0)
    _dressed(drawdown, "Drawdown [%]")
    _dressed(equity, "Equity")
    _months(made.add_subplot(rows[3, :]), result.monthly() * 100)
    found = rolling(result.equity, result.capital, result.bar)
    window = span_text(found.window)
    sharpe, volatility = made.add_subplot(rows[4, 0]), made.add_subplot(rows[4, 1])
    _line(sharpe, found.sharpe.dropna(), BLUE)
    _line(volatility, found.volatility.dropna() * 100, AMBER)
    _dressed(sharpe, f"Sharpe, rolling {window}")
    _dressed(volatility, f"Volatility [%], rolling {window}")
    _days(made.add_subplot(rows[5, 0]), daily_returns(result.equity, result.capital))
    _exposure(made.add_subplot(rows[5, 1]), result.exposure() * 100)


def _height_of_months(result: Performance) -> float:
    return 0.5 + 0.27 * len(result.monthly()) if len(result.equity) else 0.5


def _headlines(axes: Axes, result: Performance, title: str) -> None:
    stats = result.stats()
    axes.set_axis_off()
    axes.set_title(title, loc="left", fontsize=14, fontweight="bold")
    for number, (label, name) in enumerate(HEADLINES.items()):
        text = shown(label, stats[label]) + (" %" if label.endswith("[%]") else "")
        place = number / len(HEADLINES)
        axes.text(place, 0.95, name, fontsize=9, color="#5d6b7b", va="top")
        axes.text(place, 0.5, text, fontsize=12.5, fontweight="bold", va="top")
    if len(result.equity):
        span = f"{stats['Start']:%Y-%m-%d} to {stats['End']:%Y-%m-%d} UTC"
        axes.text(
            0, -0.25, f"{span}. Yearly figures: {stats['Annualisation']}.", fontsize=8.5, color="#5d6b7b", va="top"
        )


def _line(axes: Axes, series: pd.Series[float], colour: str, name: str | None = None) -> None:
    kept = thin(series)
    axes.plot(naive(kept.index), kept.to_numpy(), color=colour, linewidth=1.1, label=name)


def _months(axes: Axes, table: pd.DataFrame) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    values = table.to_numpy()
    widest = float(np.nanmax(np.abs(values[:, :-1]), initial=1.0))
    shades = LinearSegmentedColormap.from_list("months", ["#e5737b", "#f6f8fa", "#5fb57a"])
    coloured = values.copy()
    coloured[:, -1] = 0.0  # a year is the product of its months, and would outshine them
    axes.imshow(coloured, cmap=shades, vmin=-widest, vmax=widest, aspect="auto")
    axes.set_xticks(range(len(table.columns)), table.columns, fontsize=8)
    axes.set_yticks(range(len(table)), [str(year) for year in table.index], fontsize=8)
    axes.tick_params(length=0, top=False, bottom=False, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            weight = "bold" if column == values.shape[1] - 1 else "normal"
            axes.text(column, row, f"{value:+.1f}", ha="center", va="center", fontsize=8, fontweight=weight)
    axes.set_title("Return by month [%]", loc="left", fontsize=10, fontweight="bold")


def _days(axes: Axes, daily: pd.Series[float]) -> None:
    values = daily[daily != 0].to_numpy() * 100
    counts, edges = np.histogram(values, bins=40)
    colours = [RED if edge < 0 else "#2da44e" for edge in (edges[1:] + edges[:-1]) / 2]
    axes.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=colours, edgecolor="white", linewidth=0.4)
    _dressed(axes, f"Daily returns [%] ({len(values):,} days with a movement)")


def _exposure(axes: Axes, exposure: pd.DataFrame) -> None:
    gross, size = averaged(exposure.abs().sum(axis=1))
    _line(axes, gross, GREY, "Gross")
    _line(axes, averaged(exposure.sum(axis=1))[0], BLUE, "Net")
    axes.legend(loc="upper left", frameon=False, ncols=2, fontsize=8)
    _dressed(axes, "Exposure [%]" if size == 1 else f"Exposure [%], mean of {size:,} bars")


def _dressed(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axes.grid(color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#d0d7de")
    axes.tick_params(labelsize=8, color="#d0d7de")
