"""Runs side by side: their figures in one table, their equity in one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import plotly.graph_objects as go

from cashup.errors import UsageError
from cashup.research.reporting.format import shown
from cashup.research.reporting.style import PALETTE, line, styled

if TYPE_CHECKING:
    from cashup.research.performance import Performance


@dataclass(frozen=True, slots=True)
class Comparison:
    """`table`: one row per metric, one column per run (ratios; see docs/statistics.md). `curves`: equity by run."""

    table: pd.DataFrame
    curves: Mapping[str, pd.Series[float]]

    def plot(self) -> go.Figure:
        """The equity of the runs, each starting at 1."""
        return overlay(self.curves)

    def _repr_html_(self) -> str:
        rows = [
            [shown(name, value) for value in row]
            for name, row in zip(self.table.index, self.table.to_numpy(), strict=True)
        ]
        text = pd.DataFrame(rows, index=[str(name).replace("_", " ") for name in self.table.index])
        text.columns = self.table.columns
        return str(text.to_html(border=0))


def compare(results: Sequence[Performance], *, names: Sequence[str] = ()) -> Comparison:
    """Hold `results` to each other, called `names` (default: what each is, numbered where that is not enough).

    Raises UsageError for fewer than two runs, and when there are not as many names as runs.
    """
    if len(results) < 2:
        raise UsageError("a comparison takes two runs or more")
    if names and (len(names) != len(results) or len(set(names)) < len(names)):
        raise UsageError(f"{len(results)} runs take {len(results)} different names; there are {', '.join(names)}")
    called = list(names) or _called([result.heading for result in results])
    table = pd.DataFrame({name: result.metrics() for name, result in zip(called, results, strict=True)}, dtype=float)
    return Comparison(table, {name: result.equity for name, result in zip(called, results, strict=True)})


def overlay(curves: Mapping[str, pd.Series[float]], title: str | None = None) -> go.Figure:
    """Equity curves (quote currency at each close, tz-aware UTC index) over each other, each starting at 1."""
    made = go.Figure()
    for number, (name, equity) in enumerate(curves.items()):
        if len(equity):
            grown = equity / float(equity.iloc[0])
            made.add_trace(line(grown, name, PALETTE[number % len(PALETTE)], width=1.6))
    made.update_yaxes(title_text="Equity, start = 1")
    return styled(made, title, 420, showlegend=True)


def _called(headings: Sequence[str]) -> list[str]:
    if len(set(headings)) == len(headings):
        return list(headings)
    return [f"{heading} ({number})" for number, heading in enumerate(headings, start=1)]
