"""How much of the equity was in the market."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cashup.research.trades import DUST, positions_of


def exposure_of(equity: pd.Series[float], orders: pd.DataFrame, close: pd.DataFrame) -> pd.DataFrame:
    """The value of every position at each bar's close as a fraction of the equity then: time x symbol, shorts below 0.

    What lots leave of a closed position (all of it together less than DUST of the equity) is no exposure.
    """
    worth = positions_of(orders, close).to_numpy() * close.to_numpy(dtype=np.float64)
    np.nan_to_num(worth, copy=False)  # a symbol that is not listed yet cannot be held
    values = equity.to_numpy(dtype=np.float64)
    held = np.abs(worth).sum(axis=1) > DUST * values
    safe = np.where(values > 0, values, np.nan)
    return pd.DataFrame(np.where(held[:, None], worth / safe[:, None], 0.0), index=close.index, columns=close.columns)


def turnover_of(equity: pd.Series[float], orders: pd.DataFrame, years: float) -> float:
    """The value of all executions in a year, as a multiple of the mean equity (buys and sells both count)."""
    traded = float((orders["quantity"] * orders["price"]).sum())
    mean = float(equity.mean())
    return traded / mean / years if mean > 0 else float("nan")
