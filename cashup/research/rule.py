"""The execution rule: which targets become orders, and at which bar.

A target at bar t is executed at the open of bar t + 1. A symbol is ordered when its target differs from the one before
(0 before the first), or, with `rebalance`, when its exposure at that open is further than that from its target. NaN
keeps the target as it was. The last bar's target is never executed, for there is no next open.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cashup.errors import NotebookError
from cashup.strategies.bars import Bars

Grid = NDArray[np.float64]


def orders_from(targets: pd.DataFrame) -> Grid:
    """The target percentages to order at each bar's open, NaN = no order; time x symbol, one row per decision."""
    goals, changed = _goals(targets)
    return _next_bar(np.where(changed, goals, np.nan))


def orders_with_rebalance(
    targets: pd.DataFrame, opens: Grid, *, rebalance: float, capital: float, fee: float, slippage: float
) -> Grid:
    """The same, with orders that bring a drifted exposure back; `opens` are the opens of the same bars.

    Whether an exposure has drifted depends on every order before, so the bars are walked one by one.
    """
    goals, changed = _goals(targets)
    wanted = np.full(goals.shape, np.nan)
    held, cash = np.zeros(goals.shape[1]), capital
    for bar in range(len(goals) - 1):
        price = opens[bar + 1]
        equity = cash + float(held @ price)
        act = changed[bar] | (np.abs(held * price / equity - goals[bar]) > rebalance)
        if act.any():
            wanted[bar, act] = goals[bar, act]
            cash = _trade(held, cash, np.where(act, goals[bar] * equity - held * price, 0.0), price, fee, slippage)
    return _next_bar(wanted)


def check_long_only(targets: pd.DataFrame, bars: Bars) -> None:
    """Raise NotebookError for a target below zero: a spot account cannot be short."""
    values = targets.to_numpy(dtype=np.float64)
    negative = values < 0
    if negative.any():
        row, column = (int(position) for position in np.argwhere(negative)[0])
        raise NotebookError(
            f"the target of {bars.symbols[column]} at {bars.index[row]:%Y-%m-%d %H:%M} is "
            f"{values[row, column]:g}; a spot account cannot be short, so use 0 to be out of the market"
        )


def _goals(targets: pd.DataFrame) -> tuple[Grid, NDArray[np.bool_]]:
    """Per decision the target that holds, and where it differs from the one before."""
    goals = targets.ffill().fillna(0.0).to_numpy()
    before = np.vstack([np.zeros((1, goals.shape[1])), goals[:-1]])
    return goals, goals != before


def _next_bar(wanted: Grid) -> Grid:
    return np.vstack([np.full((1, wanted.shape[1]), np.nan), wanted[:-1]])


def _trade(held: Grid, cash: float, desired: Grid, price: Grid, fee: float, slippage: float) -> float:
    """Sells first, then buys from the cash that is there, the smallest first; changes `held`, returns the cash."""
    for symbol in np.argsort(desired, kind="stable"):
        quantity = desired[symbol] / price[symbol]
        if quantity < 0:
            quantity = max(quantity, -held[symbol])
            cash -= quantity * price[symbol] * (1 - slippage) * (1 - fee)
        elif quantity > 0:
            cost = price[symbol] * (1 + slippage) * (1 + fee)
            quantity = min(quantity, cash / cost)
            cash -= quantity * cost
        held[symbol] += quantity
    return cash
