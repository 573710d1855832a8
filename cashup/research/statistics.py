"""Statistics of a run: plain numpy and pandas, the same for a backtest and a live run.

Returns are bar by bar (cash and positions at each close); yearly figures take 365 days of 24 hours for a year and a
risk-free rate of zero. The labels are vectorbt's where vectorbt has the figure, and then the value is vectorbt's too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cashup.research.trades import DUST, positions_of

YEAR = pd.Timedelta(days=365)
NAN = float("nan")


def statistics(
    equity: pd.Series[float],
    orders: pd.DataFrame,
    trades: pd.DataFrame,
    close: pd.DataFrame,
    bar: pd.Timedelta,
    capital: float,
) -> pd.Series[Any]:
    """Every figure of a run, by label.

    `equity` and `close` (time x symbol) are indexed by bar, `orders` and `trades` as in `trades.py`, `bar` is the
    length of one bar, `capital` the equity before the first bar. A run without a bar has no figures but these.
    """
    if equity.empty:
        return _without_bars(trades, capital)
    returns = returns_of(equity, capital)
    bars_a_year = YEAR / bar
    years = len(equity) / bars_a_year
    total = equity.iloc[-1] / capital - 1
    grown = float((1 + total) ** (1 / years) - 1) if total > -1 else -1.0
    drawdown = drawdown_of(equity, capital)
    worst = float(-drawdown.min())
    exposure = _exposure(equity, orders, close)
    daily = _daily(equity, capital)
    return pd.Series(
        {
            "Start": equity.index[0],
            "End": equity.index[-1],
            "Period": len(equity) * bar,
            "Start Value": capital,
            "End Value": float(equity.iloc[-1]),
            "Total Return [%]": float(total) * 100,
            "Benchmark Return [%]": float((close.iloc[-1] / close.iloc[0] - 1).mean()) * 100,
            "CAGR [%]": grown * 100,
            "Volatility (ann.) [%]": float(returns.std(ddof=1)) * np.sqrt(bars_a_year) * 100,
            "Max Gross Exposure [%]": float(exposure.max()) * 100,
            "Exposure Time [%]": float((exposure > 0).mean()) * 100,
            "Total Fees Paid": float(orders["fee"].sum()),
            "Max Drawdown [%]": worst * 100,
            "Max Drawdown Duration": _longest_drawdown(drawdown) * bar,
            "Best Day [%]": float(daily.max()) * 100,
            "Worst Day [%]": float(daily.min()) * 100,
        }
        | _trade_statistics(trades)
        | {
            "Sharpe Ratio": _ratio(returns.mean() * np.sqrt(bars_a_year), returns.std(ddof=1)),
            "Calmar Ratio": _ratio(grown, worst),
            "Omega Ratio": _ratio(returns[returns > 0].sum(), -returns[returns < 0].sum()),
            "Sortino Ratio": _ratio(returns.mean() * np.sqrt(bars_a_year), _downside(returns)),
        },
        name="statistics",
        dtype=object,
    )


def _without_bars(trades: pd.DataFrame, capital: float) -> pd.Series[Any]:
    """The figures of a run that was stopped before its first bar."""
    nothing: dict[str, Any] = dict.fromkeys(
        ["CAGR [%]", "Benchmark Return [%]", "Sharpe Ratio", "Sortino Ratio", "Calmar Ratio", "Omega Ratio"], NAN
    )
    about = {"Start": pd.NaT, "End": pd.NaT, "Period": pd.Timedelta(0), "Start Value": capital, "End Value": capital}
    zero = {"Total Return [%]": 0.0, "Max Drawdown [%]": 0.0, "Total Fees Paid": 0.0}
    return pd.Series(about | zero | _trade_statistics(trades) | nothing, name="statistics", dtype=object)


def metrics(stats: pd.Series[Any]) -> dict[str, float | int | None]:
    """The figures that a run is known by, as JSON has them: ratios, not percent; None where there is none."""
    figures = {
        "total_return": stats["Total Return [%]"] / 100,
        "benchmark_return": stats["Benchmark Return [%]"] / 100,
        "cagr": stats["CAGR [%]"] / 100,
        "sharpe": stats["Sharpe Ratio"],
        "sortino": stats["Sortino Ratio"],
        "calmar": stats["Calmar Ratio"],
        "max_drawdown": stats["Max Drawdown [%]"] / 100,
        "win_rate": stats["Win Rate [%]"] / 100,
        "profit_factor": stats["Profit Factor"],
        "expectancy": stats["Expectancy"],
        "fees": stats["Total Fees Paid"],
        "final_equity": stats["End Value"],
    }
    finite = {name: float(value) if np.isfinite(value) else None for name, value in figures.items()}
    return finite | {"trades": int(stats["Total Trades"])}


def returns_of(equity: pd.Series[float], capital: float) -> NDArray[np.float64]:
    """The return of each bar; the first one is measured from `capital`."""
    values = equity.to_numpy(dtype=np.float64)
    before = np.concatenate([[capital], values[:-1]])
    changed: NDArray[np.float64] = values / before - 1
    return changed


def drawdown_of(equity: pd.Series[float], capital: float) -> pd.Series[float]:
    """How far equity is below its highest value so far, as a ratio of 0 or less."""
    values = equity.to_numpy(dtype=np.float64)
    return pd.Series(values / np.maximum.accumulate(np.maximum(values, capital)) - 1, equity.index, name="drawdown")


def _trade_statistics(trades: pd.DataFrame) -> dict[str, Any]:
    closed = trades[trades["status"] == "closed"]
    still = trades[trades["status"] == "open"]
    won, lost = closed[closed["pnl"] > 0], closed[closed["pnl"] < 0]
    lasted = closed["exit_time"] - closed["entry_time"]
    count = len(closed)
    return {
        "Total Trades": len(trades),
        "Total Closed Trades": count,
        "Total Open Trades": len(still),
        "Open Trade PnL": float(still["pnl"].sum()),
        "Win Rate [%]": len(won) / count * 100 if count else NAN,
        "Best Trade [%]": closed["return"].max() * 100,
        "Worst Trade [%]": closed["return"].min() * 100,
        "Avg Winning Trade [%]": won["return"].mean() * 100,
        "Avg Losing Trade [%]": lost["return"].mean() * 100,
        "Avg Winning Trade Duration": lasted[won.index].mean(),
        "Avg Losing Trade Duration": lasted[lost.index].mean(),
        "Profit Factor": _ratio(won["pnl"].sum(), -lost["pnl"].sum()),
        "Expectancy": closed["pnl"].mean(),
        "SQN": _ratio(closed["pnl"].mean() * np.sqrt(count), closed["pnl"].std(ddof=1)) if count > 1 else NAN,
    }


def _exposure(equity: pd.Series[float], orders: pd.DataFrame, close: pd.DataFrame) -> NDArray[np.float64]:
    held = (positions_of(orders, close).abs() * close).sum(axis=1).to_numpy()
    # What lots leave of a closed position is no exposure.
    exposure: NDArray[np.float64] = np.where(held > DUST * equity.to_numpy(), held / equity.to_numpy(), 0.0)
    return exposure


def _longest_drawdown(drawdown: pd.Series[float]) -> int:
    """Bars of the longest stretch from the first bar below a peak to the first bar back at it (or the last bar)."""
    below = np.concatenate([[False], drawdown.to_numpy() < 0, [False]])
    edges = np.flatnonzero(np.diff(below.astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    return int((ends - starts).max()) if len(starts) else 0


def _daily(equity: pd.Series[float], capital: float) -> pd.Series[float]:
    last = equity.resample("1D").last().dropna()
    return last / last.shift(1, fill_value=capital) - 1


def _downside(returns: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(np.minimum(returns, 0.0) ** 2)))


def _ratio(above: float, below: float) -> float:
    """`above / below`; infinite when nothing stands below, NaN when neither is there."""
    if below and np.isfinite(below):
        return float(above / below)
    return float("inf") if above > 0 and below == 0 else NAN
