"""What a strategy may see of the lake: its symbols, those it watches, and what lies beside them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cashup.errors import DataError
from cashup.markets.kinds import Use
from cashup.markets.lake import Lake
from cashup.research.spec import RunSpec
from cashup.strategies.bars import Bars, to_times
from cashup.strategies.strategy import Strategy
from cashup.strategies.symbols import is_contract
from cashup.strategies.timeframes import known_rows

Grid = NDArray[np.float64]


def load_bars(lake: Lake, strategy: Strategy, spec: RunSpec, *, warmup: int | None = None) -> Bars:
    """The bars that `spec` names for `strategy`, with its warm-up (or a longer one) before them.

    A time at which one of the symbols has no bar is left out; with a universe it stays, and the symbol has NaN there.
    Funding and open interest that the run uses belong to the version of the bars. Raises DataError when the lake lacks
    anything.
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
        uses=_uses(strategy, spec),
    )
    if strategy.sees:
        beside = {name: _known(lake, spec, name, bars) for name in strategy.sees}
        bars = Bars(
            bars.times, symbols, bars.timeframe, bars.values, version=bars.version, filled=bars.filled, beside=beside
        )
    return bars.split(strategy.symbols)


def priced(bars: Bars) -> Bars:
    """Bars as an engine takes them: where a candidate of a universe has no bar, the last close stands for its prices.

    Before its first bar that is the bar's open. So what is held keeps its value.
    """
    missing = np.isnan(bars.values[3])
    if not missing.any():
        return bars
    values = bars.values.copy()
    values[:4] = np.where(missing, _stand_in(bars, missing), values[:4])
    values[4][missing] = 0.0
    return Bars(
        bars.times,
        bars.symbols,
        bars.timeframe,
        values,
        version=bars.version,
        filled=bars.filled,
        watched=bars.watched,
        beside=bars.beside,
    )


def waiting(targets: Grid, bars: Bars, first: int) -> Grid:
    """Targets as an engine takes them: one that would be executed where there is no bar waits for the next that exists.

    `targets` has a row for each of `bars` from position `first` on (n x symbols; the last ones may be without).
    """
    if bars.whole:
        return targets
    missing = np.isnan(bars.values[3, first + 1 :])[: len(targets)]
    rows = np.where(np.isnan(targets), 0, np.arange(len(targets))[:, None])
    held: Grid = np.take_along_axis(targets, np.maximum.accumulate(rows, axis=0), axis=0)
    held[: len(missing)][missing] = np.nan
    return held


def _stand_in(bars: Bars, missing: NDArray[np.bool_]) -> Grid:
    """The last close, n x symbols; before the first bar its open, and 1 for a symbol without any bar."""
    rows = np.where(missing, 0, np.arange(len(bars))[:, None])
    closes: Grid = np.take_along_axis(bars.values[3], np.maximum.accumulate(rows, axis=0), axis=0)
    opens = bars.values[0][np.argmin(missing, axis=0), np.arange(len(bars.symbols))]
    return np.where(np.isnan(closes), np.nan_to_num(opens, nan=1.0), closes)


def _uses(strategy: Strategy, spec: RunSpec) -> list[Use]:
    """What a run uses beside its bars: what the strategy sees, and the funding that its perpetuals pay."""
    everything = (*strategy.symbols, *strategy.watch)
    seen = [Use(kind, symbol, seen=True) for kind in strategy.sees for symbol in everything if is_contract(symbol)]
    if not spec.funding or "funding" in strategy.sees:
        return seen
    return seen + [Use("funding", symbol) for symbol in strategy.symbols if is_contract(symbol)]


def _known(lake: Lake, spec: RunSpec, kind: str, bars: Bars) -> Grid:
    """The newest value of `kind` that was known at each bar's close, n x symbols; NaN for spot symbols."""
    grid = np.full((len(bars), len(bars.symbols)), np.nan)
    for column, symbol in enumerate(bars.symbols):
        if not is_contract(symbol):
            continue
        try:
            table = lake.read_series(
                kind, spec.exchange, symbol, None, int(bars.closes[-1]) + 1, version=spec.data_version
            )
        except DataError as error:
            raise DataError(f"the strategy sees {kind}, and {error}") from error
        series = table.iloc[:, 0]
        if series.empty:
            continue
        rows = known_rows(to_times(series.index), bars.closes)
        grid[:, column] = np.where(rows >= 0, series.to_numpy(dtype=np.float64)[np.maximum(rows, 0)], np.nan)
    return grid
