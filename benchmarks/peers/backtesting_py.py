"""backtesting.py on the task: market orders are filled at the next bar's open."""

from __future__ import annotations

from typing import Any

import pandas as pd
from backtesting import Backtest, Strategy
from task import CASH, FAST, FEE, SLOW, report


def average(values: Any, window: int) -> pd.Series:
    """The simple moving average."""
    return pd.Series(values).rolling(window).mean()


class Cross(Strategy):
    """One unit while the fast average is above the slow one."""

    def init(self) -> None:
        """Declare the averages."""
        self.fast = self.I(average, self.data.Close, FAST)
        self.slow = self.I(average, self.data.Close, SLOW)

    def next(self) -> None:
        """Buy or close."""
        above = self.fast[-1] > self.slow[-1]
        if above and not self.position:
            self.buy(size=1)
        elif not above and self.position:
            self.position.close()


def run(bars: pd.DataFrame) -> dict[str, Any]:
    """The closed trades and the final equity."""
    frame = bars.rename(columns=str.capitalize)
    stats = Backtest(frame, Cross, cash=CASH, commission=FEE, exclusive_orders=False).run()
    return {"trades": int(stats["# Trades"]), "final": float(stats["Equity Final [$]"])}


report(run)
