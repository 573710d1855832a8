"""Statistics of trades: all of them, then long and short ones apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from cashup.research.reporting.ratio import ratio

NAN = float("nan")


def trade_statistics(trades: pd.DataFrame) -> dict[str, Any]:
    """The figures of `trades` (as in `trades.py`) by vectorbt's labels; money in quote currency."""
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
        "Profit Factor": ratio(won["pnl"].sum(), -lost["pnl"].sum()),
        "Expectancy": closed["pnl"].mean(),
        "SQN": ratio(closed["pnl"].mean() * np.sqrt(count), closed["pnl"].std(ddof=1)) if count > 1 else NAN,
    } | _by_side(trades)


def sides_of(trades: pd.DataFrame) -> pd.Series[str]:
    """`long` or `short` per trade."""
    return trades["side"] if "side" in trades else pd.Series("long", index=trades.index, dtype="str")


def _by_side(trades: pd.DataFrame) -> dict[str, Any]:
    sides = sides_of(trades)
    figures: dict[str, Any] = {}
    for side in ("long", "short"):
        these = trades[sides == side]
        closed = these[these["status"] == "closed"]
        name = side.capitalize()
        figures[f"{name} Trades"] = len(these)
        figures[f"{name} Win Rate [%]"] = float((closed["pnl"] > 0).mean()) * 100 if len(closed) else NAN
        figures[f"{name} PnL"] = float(these["pnl"].sum())
    return figures
