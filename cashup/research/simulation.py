"""The backtest engine: the execution rule of `rule.py`, carried out by vectorbt."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from cashup.clock import timeframe_millis
from cashup.research.rule import check_long_only, orders_from, orders_with_rebalance
from cashup.research.trades import ORDER_COLUMNS
from cashup.strategies.bars import Bars


def simulate(
    bars: Bars, targets: pd.DataFrame, *, capital: float, fee: float, slippage: float, rebalance: float | None = None
) -> pd.DataFrame:
    """The orders that `targets` (time x symbol, one row for every bar of `bars`) make, in the order of execution.

    Sizes are fractions of the equity at the open at which they are executed; symbols share the cash; sells come before
    buys, small buys before large ones. Columns are ORDER_COLUMNS. Raises NotebookError for a target below zero.
    """
    check_long_only(targets, bars)
    opens = bars.open.to_numpy()
    if rebalance is None:
        sizes = orders_from(targets)
    else:
        sizes = orders_with_rebalance(targets, opens, rebalance=rebalance, capital=capital, fee=fee, slippage=slippage)
    portfolio = _portfolio(bars, sizes, capital, fee, slippage)
    return _orders(portfolio.orders.values, bars)


def _portfolio(bars: Bars, sizes: np.ndarray[Any, Any], capital: float, fee: float, slippage: float) -> Any:
    import vectorbt as vbt

    # The bars are read-only, and vectorbt would compile everything once more for that: it gets copies.
    return vbt.Portfolio.from_orders(
        close=bars.close.copy(),
        size=sizes,
        size_type="targetpercent",
        direction="longonly",
        price=bars.open.to_numpy().copy(),
        fees=fee,
        slippage=slippage,
        init_cash=capital,
        cash_sharing=True,
        group_by=True,
        call_seq="auto",
        freq=pd.Timedelta(milliseconds=timeframe_millis(bars.timeframe)),
        engine="auto",
    )


def _orders(records: np.ndarray[Any, Any], bars: Bars) -> pd.DataFrame:
    records = np.sort(records, order="id")  # ids count in the order of execution
    columns = {
        "timestamp": bars.index[records["idx"]],
        "symbol": pd.Index(bars.symbols, dtype="str")[records["col"]],
        "side": np.where(records["side"] == 0, "buy", "sell"),
        "quantity": records["size"],
        "price": records["price"],
        "fee": records["fees"],
    }
    return pd.DataFrame(columns)[list(ORDER_COLUMNS)]
