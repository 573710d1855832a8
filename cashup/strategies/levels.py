"""The stops of a strategy as numbers: how far from a price each one stands, per bar."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cashup.strategies.bars import Bars
from cashup.strategies.strategy import Level, Strategy, check_targets

STOPS = ("stop_loss", "take_profit", "trailing_stop")
"""The stops of a strategy, by the names that it gives them."""

Distances = dict[str, NDArray[np.float64]]
"""Per stop the distances as fractions of a price: one row (it holds always) or one row per bar, NaN where none is."""


def has_stops(strategy: Strategy) -> bool:
    """True when the strategy may leave a position inside a bar."""
    return any(getattr(strategy, name) is not None for name in STOPS)


def distances(strategy: Strategy, bars: Bars) -> Distances:
    """The stops that `strategy` has, on `bars`: time x symbol, a bar's row holds during the next bar.

    Raises NotebookError when a function of the strategy returns anything but a frame like `bars.close`.
    """
    levels = {name: getattr(strategy, name) for name in STOPS}
    return {name: _grid(name, level, strategy, bars) for name, level in levels.items() if level is not None}


def windowed_distances(strategy: Strategy, bars: Bars) -> Distances:
    """The same, but a function is asked as in live trading: at every bar, about the `warmup + 1` bars that end there.

    Rows in which it was not asked (the warm-up, and the last bar, after which nothing is held) are NaN.
    """
    levels = {name: getattr(strategy, name) for name in STOPS}
    asked = {name: level for name, level in levels.items() if callable(level)}
    fixed = {name: level for name, level in levels.items() if level is not None and name not in asked}
    found = {name: _grid(name, level, strategy, bars) for name, level in fixed.items()}
    found |= {name: np.full((len(bars), len(strategy.symbols)), np.nan) for name in asked}
    for row in range(strategy.warmup, len(bars) - 1) if asked else ():
        window = bars.rows(row - strategy.warmup, row + 1)
        for name, level in asked.items():
            found[name][row] = _grid(name, level, strategy, window)[-1]
    return found


def _grid(name: str, level: Level, strategy: Strategy, bars: Bars) -> NDArray[np.float64]:
    if not callable(level):
        return np.full((1, len(strategy.symbols)), level)
    with strategy.state_hidden():
        frame: pd.DataFrame = level(strategy.view(bars), **_parameters(level, strategy))
    return np.asarray(check_targets(frame, bars, f"the function of {name}"), dtype=np.float64)


def _parameters(level: Callable[..., Any], strategy: Strategy) -> dict[str, Any]:
    """The strategy's parameters that the function asks for; all of them when it takes any."""
    asked = list(inspect.signature(level).parameters.values())[1:]
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in asked):
        return dict(strategy.params)
    names = {parameter.name for parameter in asked}
    return {name: value for name, value in strategy.params.items() if name in names}
