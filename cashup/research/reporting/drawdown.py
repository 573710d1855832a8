"""How far and how long equity was below its best value so far."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def drawdown_of(equity: pd.Series[float], capital: float) -> pd.Series[float]:
    """How far equity is below its highest value so far, as a ratio of 0 or less."""
    values = equity.to_numpy(dtype=np.float64)
    return pd.Series(values / np.maximum.accumulate(np.maximum(values, capital)) - 1, equity.index, name="drawdown")


def longest(drawdown: pd.Series[float]) -> int:
    """Bars of the longest stretch from the first bar below a peak to the first bar back at it (or the last bar)."""
    starts, ends = _stretches(np.asarray(drawdown, dtype=np.float64))
    return int((ends - starts).max()) if len(starts) else 0


def ulcer_index(drawdown: pd.Series[float]) -> float:
    """The root mean square of the drawdowns, a ratio (Martin and McCann 1989)."""
    return float(np.sqrt(np.mean(drawdown.to_numpy() ** 2)))


def deepest(drawdown: pd.Series[float], bar: pd.Timedelta, count: int = 5) -> pd.DataFrame:
    """The `count` deepest drawdowns, one row each, the deepest first.

    Columns: `start` (the first bar below the peak), `trough`, `end` (the first bar back at the peak; NaT while it is
    not back), all open times in UTC, `depth` (a negative ratio) and `length` (Timedelta, to the last bar when open).
    """
    values = np.asarray(drawdown, dtype=np.float64)
    starts, ends = _stretches(values)
    depths = np.minimum.reduceat(values, starts) if len(starts) else np.empty(0)
    rows = []
    for number in np.argsort(depths, kind="stable")[:count]:
        start, end = int(starts[number]), int(ends[number])
        trough = start + int(values[start:end].argmin())
        back = drawdown.index[end] if end < len(values) else pd.NaT
        rows.append((drawdown.index[start], drawdown.index[trough], back, depths[number], (end - start) * bar))
    return pd.DataFrame(rows, columns=["start", "trough", "end", "depth", "length"])


def _stretches(values: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First and past-the-last positions of every stretch below 0."""
    below = np.concatenate([[False], values < 0, [False]])
    edges = np.flatnonzero(below[1:] != below[:-1])
    return edges[::2], edges[1::2]
