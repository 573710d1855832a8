"""The tables of a tear sheet, as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cashup.research.reporting.format import duration, percent, shown
from cashup.research.reporting.tradestats import sides_of

if TYPE_CHECKING:
    from cashup.research.performance import Performance

STRONGEST = 0.72
"""How much of its colour the strongest cell of the month table shows."""


def pairs(rows: Mapping[str, Any]) -> str:
    """Names and values, in columns where there is room."""
    made = "".join(f"<tr><td>{escape(k)}</td><td>{escape(shown(k, v))}</td></tr>" for k, v in rows.items())
    return f'<table class="pairs">{made}</table>'


def grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with a head; the first column is text, the others are figures."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    made = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table class="grid"><thead><tr>{top}</tr></thead><tbody>{made}</tbody></table></div>'


def months(table: pd.DataFrame) -> str:
    """Year x month as a heat table, in percent; the strongest month has the strongest colour."""
    widest = float(np.nanmax(np.abs(table.iloc[:, :-1].to_numpy()), initial=1e-9))
    head = "".join(f"<th>{name}</th>" for name in ["", *table.columns])
    rows = []
    for year, values in zip(table.index, table.to_numpy(), strict=True):
        cells = [_month(value, widest) for value in values[:-1]] + [f'<td class="year">{_percents(values[-1])}</td>']
        rows.append(f"<tr><th>{year}</th>{''.join(cells)}</tr>")
    return f'<div class="wide"><table class="months"><tr>{head}</tr>{"".join(rows)}</table></div>'


def underwater(result: Performance) -> str:
    """The five deepest drawdowns."""
    rows = [
        [_moment(start), _moment(trough), _moment(end), percent(depth, sign=False), duration(length)]
        for start, trough, end, depth, length in result.drawdowns().itertuples(index=False, name=None)
    ]
    return grid(["Start", "Trough", "Back at the peak", "Depth", "Length"], rows)


def per_symbol(result: Performance) -> str:
    """What each symbol did, alone and for the run."""
    trades, exposure = result.trades, result.exposure()
    paid = result.funding.groupby("symbol")["amount"].sum()
    rows = []
    for symbol in map(str, result.close.columns):
        done = trades[trades["symbol"] == symbol]
        closed = done[done["status"] == "closed"]
        closes = result.close[symbol].dropna()
        rows.append(
            [
                symbol,
                f"{len(done):,}",
                percent(float((closed["pnl"] > 0).mean()) if len(closed) else None, sign=False),
                f"{done['pnl'].sum():+,.2f}",
                f"{result.orders.loc[result.orders['symbol'] == symbol, 'fee'].sum():,.2f}",
                f"{-float(paid.get(symbol, 0.0)) + 0.0:,.2f}",
                percent(float((exposure[symbol] != 0).mean()), sign=False),
                percent(float(closes.iloc[-1] / closes.iloc[0] - 1) if len(closes) else None),
            ]
        )
    return grid(["Symbol", "Trades", "Win rate", "PnL", "Fees", "Funding paid", "Time held", "Price change"], rows)


def by_side(result: Performance) -> str:
    """Long and short trades apart, and orders by reason."""
    trades = result.trades
    sides = sides_of(trades)
    rows = []
    for side in ("long", "short"):
        these = trades[sides == side]
        closed = these[these["status"] == "closed"]
        rate = percent(float((closed["pnl"] > 0).mean()) if len(closed) else None, sign=False)
        mean = percent(float(closed["return"].mean()) if len(closed) else None)
        rows.append([side.capitalize(), f"{len(these):,}", rate, mean, f"{these['pnl'].sum():+,.2f}"])
    return grid(["Side", "Trades", "Win rate", "Mean return", "PnL"], rows)


def costs(result: Performance) -> str:
    """What trading took, in quote currency and of the capital."""
    fees = float(result.orders["fee"].sum())
    funding = -float(result.funding["amount"].sum()) + 0.0
    traded = float((result.orders["quantity"] * result.orders["price"]).sum())
    stats = result.stats()
    rows = [
        ["Traded value", f"{traded:,.2f}", f"{stats['Annualized Turnover [x]']:,.1f} x equity a year"],
        ["Fees", f"{fees:,.2f}", f"{percent(fees / result.capital, sign=False)} of the capital"],
        ["Funding paid", f"{funding:,.2f}", f"{percent(funding / result.capital, sign=False)} of the capital"],
    ]
    profit = float(stats["End Value"]) - result.capital
    before = profit + fees + funding
    rows.append(["Profit before these", f"{before:+,.2f}", f"{percent(before / result.capital)} of the capital"])
    rows.append(["Profit", f"{profit:+,.2f}", f"{percent(profit / result.capital)} of the capital"])
    return grid(["", "Quote currency", ""], rows)


def beside(result: Performance) -> str:
    """The run and what it is to be seen beside."""
    others = {"This run": result, **result.beside()}
    rows = []
    for name, other in others.items():
        stats = other.stats()
        figures = [f"{stats[label]:+,.2f} %" for label in ("Total Return [%]", "CAGR [%]")]
        figures += [shown("", stats["Sharpe Ratio"]), f"{stats['Max Drawdown [%]']:,.2f} %"]
        rows.append([name, *figures, f"{stats['End Value']:,.2f}"])
    return grid(["", "Return", "CAGR", "Sharpe", "Max drawdown", "End value"], rows) if len(rows) > 1 else ""


def _month(value: float, widest: float) -> str:
    if np.isnan(value):
        return "<td></td>"
    colour = "var(--gain)" if value >= 0 else "var(--loss)"
    strength = round(min(abs(value) / widest, 1) * STRONGEST * 100)
    return f'<td style="background:color-mix(in srgb, {colour} {strength}%, transparent)">{_percents(value)}</td>'


def _percents(value: float) -> str:
    return f"{value * 100:+.1f}"


def _moment(moment: Any) -> str:
    return "not yet" if moment is pd.NaT else f"{moment:%Y-%m-%d %H:%M}"
