"""Statistics of a run: plain numpy and pandas, the same for a backtest and a live run.

Returns are bar by bar (cash and positions at each close); yearly figures take 365 days of 24 hours for a year and a
risk-free rate of zero. The labels are vectorbt's where vectorbt has the figure, and then the value is vectorbt's too.
docs/statistics.md holds every formula.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cashup.research.reporting.drawdown import drawdown_of, longest, ulcer_index
from cashup.research.reporting.exposure import exposure_of, turnover_of
from cashup.research.reporting.monthly import daily_returns
from cashup.research.reporting.ratio import ratio
from cashup.research.reporting.tradestats import trade_statistics

YEAR = pd.Timedelta(days=365)
NAN = float("nan")
TAIL = 0.05
"""The share of the worst bars that value at risk and tail ratio speak of, as vectorbt has it."""

METRICS = {
    "total_return": ("Total Return [%]", 100),
    "benchmark_return": ("Benchmark Return [%]", 100),
    "cagr": ("CAGR [%]", 100),
    "volatility": ("Annualized Volatility [%]", 100),
    "sharpe": ("Sharpe Ratio", 1),
    "sortino": ("Sortino Ratio", 1),
    "calmar": ("Calmar Ratio", 1),
    "omega": ("Omega Ratio", 1),
    "max_drawdown": ("Max Drawdown [%]", 100),
    "ulcer_index": ("Ulcer Index", 1),
    "value_at_risk": ("Value at Risk", 1),
    "tail_ratio": ("Tail Ratio", 1),
    "best_day": ("Best Day [%]", 100),
    "worst_day": ("Worst Day [%]", 100),
    "exposure": ("Exposure Time [%]", 100),
    "gross_exposure": ("Avg Gross Exposure [%]", 100),
    "net_exposure": ("Avg Net Exposure [%]", 100),
    "turnover": ("Annualized Turnover [x]", 1),
    "win_rate": ("Win Rate [%]", 100),
    "profit_factor": ("Profit Factor", 1),
    "expectancy": ("Expectancy", 1),
    "sqn": ("SQN", 1),
    "fees": ("Total Fees Paid", 1),
    "funding": ("Total Funding Paid", 1),
    "final_equity": ("End Value", 1),
    "bars_per_year": ("Bars a Year", 1),
}
"""A metric's name -> the label of its figure, and what that is divided by to be a ratio."""


def statistics(
    equity: pd.Series[float],
    orders: pd.DataFrame,
    trades: pd.DataFrame,
    close: pd.DataFrame,
    bar: pd.Timedelta,
    capital: float,
    funding: pd.DataFrame | None = None,
) -> pd.Series[Any]:
    """Every figure of a run, by label.

    `equity` and `close` (time x symbol) are indexed by bar, `orders`, `trades` and `funding` as in `trades.py`, `bar`
    is the length of one bar, `capital` the equity before the first bar. A run without a bar has no figures but these.
    """
    if equity.empty:
        return _without_bars(trades, capital, bar)
    returns = returns_of(equity, capital)
    drawdown = drawdown_of(equity, capital)
    years = len(equity) * bar / YEAR
    total = float(equity.iloc[-1]) / capital - 1
    grown = float((1 + total) ** (1 / years) - 1) if total > -1 else -1.0
    figures = _what_came(equity, close, bar, capital) | {
        "CAGR [%]": grown * 100,
        "Annualized Volatility [%]": float(returns.std(ddof=1)) * np.sqrt(YEAR / bar) * 100
        if len(returns) > 1
        else NAN,
    }
    figures |= _market_time(equity, orders, close, years)
    figures |= {
        "Total Fees Paid": float(orders["fee"].sum()),
        "Total Funding Paid": _paid(funding),
        "Max Drawdown [%]": float(-drawdown.min()) * 100,
        "Max Drawdown Duration": longest(drawdown) * bar,
        "Ulcer Index": ulcer_index(drawdown),
    }
    figures |= _days(equity, capital) | trade_statistics(trades)
    figures |= _ratios(returns, YEAR / bar, grown, float(-drawdown.min()))
    return pd.Series(figures | _annualisation(bar), name="statistics", dtype=object)


def metrics(stats: pd.Series[Any]) -> dict[str, float | int | None]:
    """The figures that a run is known by, as JSON has them: ratios, not percent; None where there is none."""
    figures: dict[str, float | int | None] = {}
    for name, (label, unit) in METRICS.items():
        value = float(stats[label]) / unit
        figures[name] = value if np.isfinite(value) else None
    lasted = stats["Max Drawdown Duration"] / pd.Timedelta(days=1)
    return figures | {"max_drawdown_days": float(lasted), "trades": int(stats["Total Trades"])}


def annualisation_of(bar: pd.Timedelta) -> str:
    """How the yearly figures of a run with bars of length `bar` were made, as a sentence."""
    return f"365 days, {YEAR / bar:,.0f} bars a year, risk-free 0"


def returns_of(equity: pd.Series[float], capital: float) -> NDArray[np.float64]:
    """The return of each bar; the first one is measured from `capital`."""
    values = equity.to_numpy(dtype=np.float64)
    before = np.concatenate([[capital], values[:-1]])
    changed: NDArray[np.float64] = values / before - 1
    return changed


def _what_came(equity: pd.Series[float], close: pd.DataFrame, bar: pd.Timedelta, capital: float) -> dict[str, Any]:
    return {
        "Start": equity.index[0],
        "End": equity.index[-1],
        "Period": len(equity) * bar,
        "Start Value": capital,
        "End Value": float(equity.iloc[-1]),
        "Total Return [%]": (float(equity.iloc[-1]) / capital - 1) * 100,
        "Benchmark Return [%]": float((close.iloc[-1] / close.iloc[0] - 1).mean()) * 100,
    }


def _without_bars(trades: pd.DataFrame, capital: float, bar: pd.Timedelta) -> pd.Series[Any]:
    """The figures of a run that was stopped before its first bar."""
    about = {"Start": pd.NaT, "End": pd.NaT, "Period": pd.Timedelta(0), "Start Value": capital, "End Value": capital}
    zero = dict.fromkeys(["Total Return [%]", "Max Drawdown [%]", "Total Fees Paid", "Total Funding Paid"], 0.0)
    known = about | zero | trade_statistics(trades) | {"Max Drawdown Duration": pd.Timedelta(0)} | _annualisation(bar)
    nothing = {label: NAN for label, _ in METRICS.values() if label not in known}
    return pd.Series(known | nothing, name="statistics", dtype=object)


def _annualisation(bar: pd.Timedelta) -> dict[str, Any]:
    return {"Bars a Year": YEAR / bar, "Annualisation": annualisation_of(bar)}


def _market_time(equity: pd.Series[float], orders: pd.DataFrame, close: pd.DataFrame, years: float) -> dict[str, float]:
    exposure = exposure_of(equity, orders, close).to_numpy()
    gross = np.abs(exposure).sum(axis=1)
    return {
        "Max Gross Exposure [%]": float(gross.max()) * 100,
        "Avg Gross Exposure [%]": float(gross.mean()) * 100,
        "Avg Net Exposure [%]": float(exposure.sum(axis=1).mean()) * 100,
        "Exposure Time [%]": float((gross > 0).mean()) * 100,
        "Annualized Turnover [x]": turnover_of(equity, orders, years),
    }


def _paid(funding: pd.DataFrame | None) -> float:
    """Funding paid, less what was received."""
    return 0.0 - float(funding["amount"].sum()) if funding is not None else 0.0


def _days(equity: pd.Series[float], capital: float) -> dict[str, float]:
    daily = daily_returns(equity, capital)
    return {"Best Day [%]": float(daily.max()) * 100, "Worst Day [%]": float(daily.min()) * 100}


def _ratios(returns: NDArray[np.float64], bars_a_year: float, grown: float, worst: float) -> dict[str, float]:
    mean = float(returns.mean()) * np.sqrt(bars_a_year)
    spread = float(returns.std(ddof=1)) if len(returns) > 1 else NAN
    series: Any = pd.Series(returns)
    low, high = (float(value) for value in np.percentile(returns, [100 * TAIL, 100 * (1 - TAIL)]))
    return {
        "Sharpe Ratio": ratio(mean, spread),
        "Calmar Ratio": ratio(grown, worst),
        "Omega Ratio": ratio(float(returns[returns > 0].sum()), float(-returns[returns < 0].sum())),
        "Sortino Ratio": ratio(mean, float(np.sqrt(np.mean(np.minimum(returns, 0.0) ** 2)))),
        "Skew": float(series.skew()),
        "Kurtosis": float(series.kurt()),
        "Tail Ratio": ratio(abs(high), abs(low)),
        "Value at Risk": low,
        "Conditional Value at Risk": _worst_mean(returns),
    }


def _worst_mean(returns: NDArray[np.float64]) -> float:
    last = int((len(returns) - 1) * TAIL)
    return float(np.partition(returns, last)[: last + 1].mean())
