"""Figures over a moving window, with the window in their names."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from cashup.research.reporting.statistics import YEAR, returns_of

WINDOW = pd.Timedelta(days=30)


class Rolling(NamedTuple):
    """`sharpe` and `volatility` (a ratio), both annualised, at each close; `window` is what a value looks back on."""

    sharpe: pd.Series[float]
    volatility: pd.Series[float]
    window: pd.Timedelta


def rolling(equity: pd.Series[float], capital: float, bar: pd.Timedelta) -> Rolling:
    """Sharpe ratio and volatility over 30 days, or over a quarter of a run that is shorter than 120 days.

    The same formulas as in `statistics.py`, NaN until a window is full. A window is two bars at least.
    """
    count = max(min(int(WINDOW / bar), len(equity) // 4), 2)
    returns = pd.Series(returns_of(equity, capital), equity.index)
    moving = returns.rolling(count)
    scale = float(np.sqrt(YEAR / bar))
    mean, spread = moving.mean(), moving.std(ddof=1)
    # What float arithmetic leaves of a window without a movement is no movement.
    spread = spread.where(spread > 1e-12)
    return Rolling(mean / spread * scale, spread.fillna(0.0).where(mean.notna()) * scale, count * bar)


def span_text(span: pd.Timedelta) -> str:
    """A length for people: `30 days`, `18 hours`, `45 minutes`."""
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        count = span.total_seconds() / length
        if count >= 2 or unit == "minute" or count == 1:
            return f"{count:.3g} {unit}{'' if count == 1 else 's'}"
    raise AssertionError
