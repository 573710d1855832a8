"""Other futures: bars that are the same up to a moment and differ after it, all of them plausible."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cashup.strategies.bars import Bars

Values = NDArray[np.float64]


def shuffled(values: Values, random: np.random.Generator) -> Values:
    """The same returns in another order, after a jump.

    `values` is (5, bars, symbols), and its first bar is the last one that is known; so in all of them.
    """
    close = values[3]
    growth = np.nan_to_num(random.permutation(close[1:] / close[:-1]), nan=1.0)
    ratio = random.uniform(1.05, 1.1) * close[0] * np.cumprod(growth, axis=0) / close[1:]
    ratio = np.where(np.isnan(ratio), 1.07, ratio)  # a symbol that is not listed yet keeps its NaN
    return np.concatenate([values[:4, 1:] * ratio, values[4:, 1:]])


def raised(values: Values, random: np.random.Generator) -> Values:
    """About half as high again: a level that the past has not seen."""
    return _scaled(values[:, 1:], random.uniform(1.4, 1.6), 2.0)


def sunk(values: Values, random: np.random.Generator) -> Values:
    """About a third lower, with the bars in reverse order."""
    return _scaled(values[:, :0:-1], random.uniform(0.6, 0.7), 0.4)


def _scaled(values: Values, price: float, volume: float) -> Values:
    return np.concatenate([values[:4] * price, values[4:] * volume])


Make = Callable[[Values, np.random.Generator], Values]
FUTURES: tuple[Make, ...] = (shuffled, raised, sunk)


def with_future(bars: Bars, stop: int, make: Make, seed: int) -> Bars:
    """`bars` whose rows from `stop` on are replaced; what they carry of other symbols and series is changed alike."""
    values = bars.values.copy()
    values[:, stop:] = make(bars.values[:, stop - 1 :], np.random.default_rng([seed, stop]))
    watched = None if bars.watched is None else with_future(bars.watched, stop, make, seed)
    beside = {name: np.concatenate([known[:stop], 1.5 * known[stop:]]) for name, known in bars.beside.items()}
    return Bars(bars.times, bars.symbols, bars.timeframe, values, watched=watched, beside=beside)
