"""A backtest: bars from the lake, targets from the strategy, orders from the engine."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from cashup.markets.lake import Lake
from cashup.research.result import Result
from cashup.research.spec import RunSpec, run_spec
from cashup.research.trades import equity_of
from cashup.settings import load_settings
from cashup.strategies.bars import Bars
from cashup.strategies.strategy import Strategy


class Backtest(Result):
    """What a strategy would have done with bars of the past; `data_version` names exactly these bars."""

    title = "backtest"

    def __init__(self, strategy: Strategy, spec: RunSpec, bars: Bars, orders: pd.DataFrame) -> None:
        close = bars.close.iloc[strategy.warmup :]
        super().__init__(
            equity=equity_of(orders, close, spec.capital),
            orders=orders,
            close=close,
            timeframe=strategy.timeframe,
            capital=spec.capital,
        )
        self.strategy = strategy
        self.spec = spec
        self.data_version = bars.version

    def to_json(self) -> dict[str, Any]:
        """The figures, and what they were made of."""
        return {
            "metrics": self.metrics(),
            "data_version": self.data_version,
            "symbols": list(self.strategy.symbols),
            "timeframe": self.timeframe,
            "warmup": self.strategy.warmup,
            "bars": len(self.equity),
            "first_bar": self.equity.index[0].isoformat(),
            "last_bar": self.equity.index[-1].isoformat(),
        }


def run_backtest(
    strategy: Strategy,
    *,
    exchange: str | None = None,
    start: str | datetime | None = None,
    end: str | datetime | None = None,
    capital: float | None = None,
    fee: float | None = None,
    slippage: float | None = None,
) -> Backtest:
    """What `cu.run` does in research. Raises DataError, NotebookError or UsageError, each with what to do."""
    spec = run_spec(exchange=exchange, start=start, end=end, capital=capital, fee=fee, slippage=slippage)
    lake = Lake(load_settings().lake_path)
    bars = lake.bars(spec.exchange, strategy.symbols, strategy.timeframe, spec.first, spec.last, warmup=strategy.warmup)
    made = backtest(strategy, bars, spec)
    if spec.result_path:
        Path(spec.result_path).write_text(json.dumps(made.to_json()))
    return made


def backtest(strategy: Strategy, bars: Bars, spec: RunSpec) -> Backtest:
    """Test `strategy` on `bars`, of which the first `strategy.warmup` are the warm-up."""
    from cashup.research.simulation import simulate

    targets = strategy.targets(bars).iloc[strategy.warmup :]
    traded = bars.rows(strategy.warmup, len(bars))
    orders = simulate(
        traded,
        targets,
        capital=spec.capital,
        fee=spec.fee,
        slippage=spec.slippage,
        rebalance=strategy.rebalance,
    )
    return Backtest(strategy, spec, bars, orders)
