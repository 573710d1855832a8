"""The execution rule as vectorbt needs it: which targets become orders, and at which bar.

A target at bar t is executed at the open of bar t + 1. A symbol is ordered when its target differs from the one before
(0 before the first). NaN keeps the target as it was. The last bar's target is never executed: there is no next open.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cashup.errors import NotebookError
from cashup.strategies.bars import Bars
from cashup.strategies.symbols import is_contract

Grid = NDArray[np.float64]


def orders_from(targets: pd.DataFrame) -> Grid:
    """The target percentages to order at each bar's open, NaN = no order; time x symbol, one row per decision."""
    goals = targets.to_numpy()
    if np.isnan(goals).any():
        goals = targets.ffill().fillna(0.0).to_numpy()
    orders = np.full(goals.shape, np.nan)
    if len(goals) > 1:
        orders[1] = np.where(goals[0] != 0.0, goals[0], np.nan)
        orders[2:] = np.where(goals[1:-1] != goals[:-2], goals[1:-1], np.nan)
    return orders


def check_long_only(targets: pd.DataFrame, bars: Bars) -> None:
    """Raise NotebookError for a target below zero of a spot symbol: a spot account cannot be short."""
    values = targets.to_numpy(dtype=np.float64)
    spot = np.array([not is_contract(symbol) for symbol in bars.symbols])
    if not spot.any() or not (values < 0).any():
        return
    negative = (values < 0) & spot
    if negative.any():
        row, column = (int(position) for position in np.argwhere(negative)[0])
        raise NotebookError(
            f"the target of {bars.symbols[column]} at {bars.index[row]:%Y-%m-%d %H:%M} is "
            f"{values[row, column]:g}; a spot account cannot be short, so use 0 to be out of the market"
        )
