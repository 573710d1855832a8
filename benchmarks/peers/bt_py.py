"""bt on the task: it rebalances weights at a bar's close, so the signal is shifted by a bar; it has no opens."""

from __future__ import annotations

from typing import Any

import bt
import pandas as pd
from task import CASH, FAST, FEE, SLOW, report


def run(bars: pd.DataFrame) -> dict[str, Any]:
    """The entries and the final equity; all of the equity is traded."""
    close = bars[["close"]]
    weights = (close.rolling(FAST).mean() > close.rolling(SLOW).mean()).astype(float).shift(1, fill_value=0.0)
    changes = weights[weights["close"].diff().fillna(0.0) != 0]
    strategy = bt.Strategy("cross", [bt.algos.WeighTarget(changes), bt.algos.Rebalance()])
    test = bt.Backtest(
        strategy, close, initial_capital=CASH, commissions=lambda q, p: abs(q) * p * FEE, integer_positions=False
    )
    result = bt.run(test)
    return {"trades": int((changes["close"] == 0).sum()), "final": float(result.prices.iloc[-1, 0] / 100 * CASH)}


report(run)
