"""What came of a run, in numbers: the same for a backtest and for a finished live run."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from cashup.clock import timeframe_millis
from cashup.research.reporting.drawdown import deepest, drawdown_of
from cashup.research.reporting.exposure import exposure_of
from cashup.research.reporting.monthly import monthly_returns
from cashup.research.reporting.statistics import metrics, statistics
from cashup.research.trades import no_funding, trades_of

if TYPE_CHECKING:
    from cashup.strategies.bars import Bars


class Performance:
    """Equity, orders and trades of a run, and its statistics. `Result` adds the pictures.

    `equity`: Series in quote currency at each bar's close, indexed by the bar's open time (tz-aware UTC, ms).
    `orders`: one row per executed order, columns `timestamp symbol side quantity price fee reason`.
    `close`: the closes of the same bars, time x symbol. `capital`: the equity before the first bar.
    `funding`: one row per payment of a perpetual, columns `timestamp symbol amount` (quote, negative when paid).
    `bars`: the same bars with all their prices, where they are known; pictures draw candles from them.
    `notes`: what a reader of the figures should know, a sentence each.
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
        bars: Bars | None = None,
    ) -> None:
        self.equity = equity
        self.orders = orders
        self.close = close
        self.timeframe = timeframe
        self.capital = capital
        self.funding = no_funding() if funding is None else funding
        self.bars = bars
        self.notes: list[str] = []

    @cached_property
    def trades(self) -> pd.DataFrame:
        """One row per exit, and per position that is still open: entry, exit, fees, pnl, return, status."""
        return trades_of(self.orders, self.close)

    @property
    def bar(self) -> pd.Timedelta:
        """The length of one bar."""
        return pd.Timedelta(milliseconds=timeframe_millis(self.timeframe))

    @property
    def heading(self) -> str:
        """What was run, in a few words: symbols, timeframe, and whether it is a backtest."""
        symbols = list(map(str, self.close.columns))
        named = ", ".join(symbols) if len(symbols) <= 4 else f"{len(symbols)} symbols"
        return f"{named} {self.timeframe}, {self.title}"

    @cached_property
    def drawdown(self) -> pd.Series[float]:
        """How far equity is below its highest value so far at each close, as a ratio of 0 or less."""
        return drawdown_of(self.equity, self.capital)

    @cached_property
    def benchmark(self) -> pd.Series[float]:
        """The capital in equal parts in the symbols from the first close on, without costs, in quote currency."""
        grown = self.close
        if len(grown):
            grown = grown.div(grown.bfill().iloc[0], axis=1).ffill().fillna(1.0)
        return (grown.mean(axis=1) * self.capital).rename("benchmark")

    def stats(self) -> pd.Series[Any]:
        """The figures of the run; yearly ones with 365 days, risk-free 0. docs/statistics.md has the formulas.

        Money is in quote currency, labels with [%] are percent, durations are Timedeltas.
        """
        return self._statistics.copy()

    def metrics(self) -> dict[str, float | int | None]:
        """The main figures as JSON: ratios instead of percent, None where there is none."""
        return metrics(self._statistics)

    def monthly(self) -> pd.DataFrame:
        """The return of each month, year x (`Jan` .. `Dec`, `Year`), as ratios; months of the calendar in UTC."""
        return monthly_returns(self.equity, self.capital)

    def drawdowns(self, count: int = 5) -> pd.DataFrame:
        """The deepest drawdowns, the deepest first: `start trough end` (UTC; NaT: still open), `depth length`."""
        return deepest(self.drawdown, self.bar, count)

    def exposure(self) -> pd.DataFrame:
        """The value of each position at each close as a fraction of the equity then: time x symbol, shorts below 0."""
        return exposure_of(self.equity, self.orders, self.close)

    def facts(self) -> dict[str, str]:
        """What the run was made of, by name."""
        return {}

    def beside(self) -> Mapping[str, Performance]:
        """Runs to see this one beside, by name: a backtest's buy-and-hold, and itself at twice the costs."""
        return {}

    @cached_property
    def _statistics(self) -> pd.Series[Any]:
        return statistics(self.equity, self.orders, self.trades, self.close, self.bar, self.capital, self.funding)
