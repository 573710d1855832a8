"""backtrader on the task: market orders are filled at the next bar's open."""

from __future__ import annotations

from typing import Any

import backtrader as bt
import pandas as pd
from task import CASH, FAST, FEE, SLOW, report


class Cross(bt.Strategy):
    """One unit while the fast average is above the slow one."""

    def __init__(self) -> None:
        self.fast = bt.ind.SMA(period=FAST)
        self.slow = bt.ind.SMA(period=SLOW)
        self.closed = 0

    def next(self) -> None:
        """Buy or close."""
        above = self.fast[0] > self.slow[0]
        if above and not self.position:
            self.buy(size=1)
        elif not above and self.position:
            self.close()

    def notify_trade(self, trade: Any) -> None:
        """Count what is closed."""
        self.closed += trade.isclosed


def run(bars: pd.DataFrame) -> dict[str, Any]:
    """The closed trades and the final equity."""
    engine = bt.Cerebro(stdstats=False)
    engine.adddata(bt.feeds.PandasData(dataname=bars))
    engine.addstrategy(Cross)
    engine.broker.setcash(CASH)
    engine.broker.setcommission(commission=FEE)
    (strategy,) = engine.run()
    return {"trades": strategy.closed, "final": float(engine.broker.getvalue())}


report(run)
