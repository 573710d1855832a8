"""What a strategy may see of the lake: its symbols, those it watches, and what lies beside them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cashup.errors import DataError
from cashup.markets.lake import Lake
from cashup.research.spec import RunSpec
from cashup.strategies.bars import Bars, to_times
from cashup.strategies.strategy import Strategy
from cashup.strategies.symbols import is_contract
from cashup.strategies.timeframes import known_rows


def load_bars(lake: Lake, strategy: Strategy, spec: RunSpec, *, warmup: int | None = None) -> Bars:
    """The bars that `spec` names for `strategy`, with its warm-up (or a longer one) before them.

    A time at which one of the symbols has no bar is left out; with a universe it stays, and the symbol has NaN there.
    Raises DataError when the lake lacks anything.
    """
    symbols = (*strategy.symbols, *strategy.watch)
    bars = lake.bars(
        spec.exchange,
        symbols,
        strategy.timeframe,
        spec.first,
        spec.last,
        warmup=strategy.warmup if warmup is None else warmup,
        version=spec.data_version,
        outer=strategy.universe is not None,
    )
    if strategy.sees:
        beside = {name: _known(lake, spec.exchange, name, bars) for name in strategy.sees}
        bars = Bars(
            bars.times, symbols, bars.timeframe, bars.values, version=bars.version, filled=bars.filled, beside=beside
        )
    return bars.split(strategy.symbols)


def executable(bars: Bars, targets: NDArray[np.float64]) -> tuple[Bars, NDArray[np.float64]]:
    """Bars and targets (n x symbols) as an engine takes them, when a candidate of a universe has no bar at some times.

    Where there is no bar, the last close stands for its prices (before the first bar: that bar's open), so what is held
    keeps its value; and a target that would be executed there waits for the next bar that exists.
    """
    missing = np.isnan(bars.values[3])
    if not missing.any():
        return bars, targets
    rows = np.where(missing, 0, np.arange(len(bars))[:, None])
    last = np.maximum.accumulate(rows, axis=0)
    columns = np.arange(len(bars.symbols))
    stand_in = bars.values[3][last, columns]
    first = np.argmin(missing, axis=0)
    stand_in = np.where(np.isnan(stand_in), bars.values[0][first, columns], stand_in)
    if bool(missing.all(axis=0).any()):
        stand_in = np.where(np.isnan(stand_in), 1.0, stand_in)  # it never trades: its target is 0 all the time
    values = bars.values.copy()
    values[:4] = np.where(missing, stand_in, values[:4])
    values[4] = np.where(missing, 0.0, values[4])
    filled = Bars(bars.times, bars.symbols, bars.timeframe, values, version=bars.version, filled=bars.filled)
    return filled, _waiting(targets, missing)


def _waiting(targets: NDArray[np.float64], missing: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Targets that hold from bar to bar, NaN (keep) where the next bar is missing."""
    known = np.where(np.isnan(targets), 0, np.arange(len(targets))[:, None])
    held = np.take_along_axis(targets, np.maximum.accumulate(known, axis=0), axis=0)
    held[:-1][missing[1:]] = np.nan
    return held


def _known(lake: Lake, exchange: str, kind: str, bars: Bars) -> NDArray[np.float64]:
    """The newest value of `kind` that was known at each bar's close, n x symbols; NaN for spot symbols."""
    grid = np.full((len(bars), len(bars.symbols)), np.nan)
    for column, symbol in enumerate(bars.symbols):
        if not is_contract(symbol):
            continue
        try:
            series = lake.read_series(kind, exchange, symbol, None, int(bars.closes[-1]) + 1).iloc[:, 0]
        except DataError as error:
            raise DataError(f"the strategy sees {kind}, and {error}") from error
        rows = known_rows(to_times(series.index), bars.closes)
        grid[:, column] = np.where(rows >= 0, series.to_numpy(dtype=np.float64)[np.maximum(rows, 0)], np.nan)
    return grid
