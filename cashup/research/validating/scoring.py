"""What a parameter set is chosen by: one figure of its bar returns, the larger the better."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cashup.errors import UsageError
from cashup.strategies.symbols import did_you_mean

Floats = NDArray[np.float64]
NAN = float("nan")


def sharpe(returns: Floats, bars_a_year: float) -> float:
    """Mean over sample deviation, annualised; NaN for returns that never change."""
    spread = returns.std(ddof=1) if len(returns) > 1 else 0.0
    return float(returns.mean() / spread * np.sqrt(bars_a_year)) if spread > 0 else NAN


def sortino(returns: Floats, bars_a_year: float) -> float:
    """Mean over the deviation of losses (root of their mean square), annualised."""
    falls = float(np.sqrt(np.mean(np.minimum(returns, 0.0) ** 2)))
    return float(returns.mean() / falls * np.sqrt(bars_a_year)) if falls > 0 else NAN


def total_return(returns: Floats, _bars_a_year: float = NAN) -> float:
    """The compounded return, as a ratio."""
    return float(np.prod(1 + returns) - 1)


def cagr(returns: Floats, bars_a_year: float) -> float:
    """The compounded return of a year."""
    grown = 1 + total_return(returns)
    return float(grown ** (bars_a_year / len(returns)) - 1) if grown > 0 else -1.0


def max_drawdown(returns: Floats, _bars_a_year: float = NAN) -> float:
    """The largest fall from a peak, as a ratio of 0 or more."""
    equity = np.concatenate([[1.0], np.cumprod(1 + returns)])
    return float((1 - equity / np.maximum.accumulate(equity)).max())


def calmar(returns: Floats, bars_a_year: float) -> float:
    """CAGR over the maximum drawdown."""
    worst = max_drawdown(returns)
    return cagr(returns, bars_a_year) / worst if worst > 0 else NAN


OBJECTIVES: dict[str, tuple[Callable[[Floats, float], float], int]] = {
    "sharpe": (sharpe, 1),
    "sortino": (sortino, 1),
    "calmar": (calmar, 1),
    "total_return": (total_return, 1),
    "cagr": (cagr, 1),
    "max_drawdown": (max_drawdown, -1),
}
"""Name -> the figure, and 1 when more of it is better. Yearly figures take 365 days, as `statistics.py` does; the names
and values are those of a run's metrics."""


def objective(name: str) -> tuple[Callable[[Floats, float], float], int]:
    """The figure of that name and its direction; raises UsageError for an unknown one."""
    if name not in OBJECTIVES:
        raise UsageError(f"there is no objective {name!r}; {did_you_mean(name, OBJECTIVES)}")
    return OBJECTIVES[name]
