"""Funding of perpetuals: the lake's rates, and the bars in which they are paid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from cashup.markets.lake import Lake
from cashup.research.kernel import NO_FUNDING, Funding
from cashup.strategies.bars import Bars, to_times
from cashup.strategies.symbols import is_contract
from cashup.types import Millis

Rates = Mapping[str, "pd.Series[float]"]
"""Per symbol the rates (ratios; longs pay when above 0) by the time of payment, tz-aware."""


def read_funding(
    lake: Lake, exchange: str, symbols: Sequence[str], first: Millis, end: Millis, *, version: str | None = None
) -> tuple[dict[str, pd.Series[float]], list[str]]:
    """The rates of the perpetuals among `symbols` in [first, end), and a sentence per symbol that has none.

    With the `version` of an earlier run those that it had.
    """
    rates: dict[str, pd.Series[float]] = {}
    notes: list[str] = []
    for symbol in symbols:
        if not is_contract(symbol):
            continue
        if lake.has(exchange, symbol, "funding"):
            rates[symbol] = lake.funding(exchange, symbol, first, end, version=version)
        if symbol not in rates or rates[symbol].empty:
            notes.append(f"the lake has no funding rates of {symbol} on {exchange} for these bars: none was paid")
    return rates, notes


def by_bar(rates: Rates, bars: Bars, step: Millis) -> Funding:
    """The rates summed per bar of `bars` (`step` ms long): those due at its open, and those due later inside it."""
    if all(series.empty for series in rates.values()):
        return NO_FUNDING
    at_open, inside = np.zeros((2, len(bars), len(bars.symbols)))
    for column, symbol in enumerate(bars.symbols):
        if symbol not in rates:
            continue
        times, values = to_times(rates[symbol].index), rates[symbol].to_numpy(dtype=np.float64)
        known = (times >= bars.times[0]) & (times < bars.times[-1] + step)
        times, values = times[known], values[known]
        rows = np.searchsorted(bars.times, times, side="right") - 1
        due = times == bars.times[rows]
        np.add.at(at_open[:, column], rows[due], values[due])
        np.add.at(inside[:, column], rows[~due], values[~due])
    return Funding(at_open, inside)
