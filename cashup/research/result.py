"""What came of a run: the same object for a backtest and for a finished live run, with its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cashup.research.performance import Performance

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from cashup.research.reporting.compare import Comparison
    from cashup.research.reporting.tearsheet import TearSheet


class Result(Performance):
    """A run as a notebook has it: `stats() plot() tear_sheet() save() compare()`, `equity orders trades funding`.

    `equity`: Series in quote currency at each bar's close, indexed by the bar's open time (tz-aware UTC, ms).
    `orders`: one row per executed order, columns `timestamp symbol side quantity price fee reason`.
    `close`: the closes of the same bars, time x symbol. `capital`: the equity before the first bar.
    `funding`: one row per payment of a perpetual, columns `timestamp symbol amount` (quote, negative when paid).
    `bars`: the same bars with all their prices, where they are known; pictures draw candles from them.
    `notes`: what a reader of the figures should know, a sentence each.
    """

    def plot(self, kind: str = "overview", **options: Any) -> go.Figure:
        """A still picture.

        `kind`: `overview` (equity, drawdown, and for one symbol the close with its orders), `equity`, `drawdown`,
        `monthly`, `rolling`, `trades` (options `symbol`, `start`, `end` in UTC), `distribution` or `exposure`.
        Raises UsageError for any other.
        """
        from cashup.research.reporting.plot import figure

        return figure(self, kind, **options)

    def tear_sheet(
        self, *, title: str | None = None, notes: Sequence[str] = (), facts: Mapping[str, str] | None = None
    ) -> TearSheet:
        """Everything about the run, shown in the notebook; its `save(path)` writes one file that needs nothing else.

        `notes` are sentences about the run, `facts` what it was made of (hashes, parameters).
        """
        from cashup.research.reporting.tearsheet import TearSheet

        return TearSheet(self, title=title, notes=notes, facts=facts)

    def save(self, path: str | Path) -> Path:
        """Write the tear sheet to `path` (`.html`: one self-contained page, `.png`: a picture) and return the path.

        Raises UsageError for any other ending.
        """
        return self.tear_sheet().save(path)

    def compare(self, *others: Result, names: Sequence[str] = ()) -> Comparison:
        """This run beside `others`: a table of their figures and their equity in one picture, each starting at 1."""
        from cashup.research.reporting.compare import compare

        return compare([self, *others], names=names)

    def __repr__(self) -> str:
        stats = self._statistics
        span = f"{stats['Start']:%Y-%m-%d} to {stats['End']:%Y-%m-%d}" if len(self.equity) else "no bars"
        return (
            f"<{type(self).__name__} {', '.join(map(str, self.close.columns))} {self.timeframe}, "
            f"{span}: {stats['Total Return [%]']:+.2f} %, "
            f"{stats['Total Trades']} trades, Sharpe {stats['Sharpe Ratio']:.2f}>"
        )

    def _repr_html_(self) -> str:
        from cashup.research.reporting.card import card

        return card(self)

    def __dir__(self) -> list[str]:
        """What a notebook completes: the public names."""
        return sorted(name for name in super().__dir__() if not name.startswith("_"))
