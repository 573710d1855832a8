"""What came of a run: the same object for a backtest and for a finished live run."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from cashup.clock import timeframe_millis
from cashup.research.statistics import metrics, statistics
from cashup.research.trades import no_funding, trades_of

if TYPE_CHECKING:
    import plotly.graph_objects as go


class Result:
    """Equity, orders and trades of a run, its statistics and its picture.

    `equity`: Series in quote currency at each bar's close, indexed by the bar's open time (tz-aware UTC, ms).
    `orders`: one row per executed order, columns `timestamp symbol side quantity price fee
    reason`.
    `close`: the closes of the same bars, time x symbol. `capital`: the equity before the first bar.
    `funding`: one row per payment of a perpetual, columns `timestamp symbol amount` (quote, negative when paid).
    """

    title = "run"

    def __init__(
        self,
        *,
        equity: pd.Series[float],
        orders: pd.DataFrame,
        close: pd.DataFrame,
        timeframe: str,
        capital: float,
        funding: pd.DataFrame | None = None,
    ) -> None:
        self.equity = equity
        self.orders = orders
        self.close = close
        self.timeframe = timeframe
        self.capital = capital
        self.funding = no_funding() if funding is None else funding

    @cached_property
    def trades(self) -> pd.DataFrame:
        """One row per exit, and per position that is still open: entry, exit, fees, pnl, return, status."""
        return trades_of(self.orders, self.close)

    def stats(self) -> pd.Series[Any]:
        """The figures of the run by label, annualised with 365 days."""
        return self._statistics.copy()

    def metrics(self) -> dict[str, float | int | None]:
        """The main figures as JSON: ratios instead of percent, None where there is none."""
        return metrics(self._statistics)

    def plot(self) -> go.Figure:
        """A still picture: equity, drawdown, and for one symbol the close with its trades."""
        from cashup.research.plot import figure

        title = f"{', '.join(map(str, self.close.columns))} {self.timeframe}, {self.title}"
        return figure(self.equity, self.orders, self.close, capital=self.capital, title=title)

    @cached_property
    def _statistics(self) -> pd.Series[Any]:
        bar = pd.Timedelta(milliseconds=timeframe_millis(self.timeframe))
        return statistics(self.equity, self.orders, self.trades, self.close, bar, self.capital)

    def __repr__(self) -> str:
        stats = self._statistics
        span = f"{stats['Start']:%Y-%m-%d} to {stats['End']:%Y-%m-%d}" if len(self.equity) else "no bars"
        return (
            f"<{type(self).__name__} {', '.join(map(str, self.close.columns))} {self.timeframe}, "
            f"{span}: {stats['Total Return [%]']:+.2f} %, "
            f"{stats['Total Trades']} trades, Sharpe {stats['Sharpe Ratio']:.2f}>"
        )
