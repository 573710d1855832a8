"""What came of a live run, with the interface of a backtest: built from what the gateway has booked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from queue import Empty
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cashup.client import Client, Row
from cashup.errors import Unavailable
from cashup.research.result import Result
from cashup.research.trades import ORDER_COLUMNS, empty_orders
from cashup.strategies.bars import FIELDS, Bars, to_index
from cashup.workers.link import Link

if TYPE_CHECKING:
    from cashup.strategies.strategy import Strategy
    from cashup.types import Millis

_PATIENCE = 30.0
_MOST_HISTORY = 10_000
"""The gateway gives no more bars at once; of a longer run the newest ones are shown."""


class LiveRun(Result):
    """A deployment from its first decided bar to the stop, over all its attempts.

    `equity` is the book's worth right after the close of each decided bar, `orders` what was executed, by order.
    """

    title = "live"


def fetch(gateway: str, token: str, deployment: str, strategy: Strategy) -> LiveRun:
    """The run of `deployment` as the gateway has booked it; raises Unavailable when the gateway does not answer."""
    with Client(gateway, token) as client:
        capital = float(client.deployment(deployment)["capital"])
        worth = client.equity(deployment)
        fills = client.fills(deployment)
        orders = client.orders(deployment)
    first = int(worth[0]["bar"]) if worth else None
    bars = _bars(gateway, token, strategy, first)
    equity = pd.Series(
        [float(row["equity"]) for row in worth], index=to_index(_times(row["bar"] for row in worth)), name="equity"
    )
    common = bars.index.intersection(pd.DatetimeIndex(equity.index))
    if common.empty:
        # Nothing was decided: the run is the capital, at the newest bar there is.
        common = bars.index[-1:]
        equity = pd.Series(capital, index=common, name="equity")
    rows = bars.index.get_indexer(common)
    decided = Bars(bars.times[rows], bars.symbols, bars.timeframe, bars.values[:, rows])
    return LiveRun(
        equity=equity.loc[common],
        orders=executed(orders, fills, strategy.bar_millis),
        close=decided.close,
        timeframe=strategy.timeframe,
        capital=capital,
        bars=decided,
    )


def executed(orders: Sequence[Row], fills: Sequence[Row], bar_millis: Millis) -> pd.DataFrame:
    """Fills as one row per order, in the columns and units of a backtest's orders.

    A fee taken in the bought asset lessens the quantity and is shown in quote currency at the fill's price. An order
    of bar *t* stands at the bar after it, at whose open it was executed.
    """
    if not fills:
        return empty_orders()
    bars = {order["client_order_id"]: int(order["bar"]) + bar_millis for order in orders}
    rows = [_fill(row, bars[row["client_order_id"]]) for row in fills]
    columns = ["order", *ORDER_COLUMNS[:4], "value", "fee"]
    table = pd.DataFrame(rows, columns=columns).groupby("order", sort=False)
    made = table.agg(
        {"timestamp": "first", "symbol": "first", "side": "first", "quantity": "sum", "value": "sum", "fee": "sum"}
    )
    made["price"] = made["value"] / made["quantity"]
    made["timestamp"] = to_index(_times(made["timestamp"]))
    made["reason"] = pd.Series("target", index=made.index, dtype="str")
    return made.sort_values("timestamp", kind="stable")[list(ORDER_COLUMNS)].reset_index(drop=True)


def _fill(row: Row, bar: Millis) -> tuple[Any, ...]:
    price, quantity, fee = float(row["price"]), float(row["quantity"]), float(row["fee"])
    base = row["symbol"].partition("/")[0]
    if row["fee_currency"] == base:
        quantity -= fee if row["side"] == "buy" else -fee
        fee *= price
    return (row["client_order_id"], bar, row["symbol"], row["side"], quantity, quantity * price, fee)


def _bars(gateway: str, token: str, strategy: Strategy, first: Millis | None) -> Bars:
    """The bars from `first` (or the newest alone) to now, asked for as a worker asks for history."""
    count = 1
    while True:
        times, bars = _history(gateway, token, strategy, count)
        if first is None or len(times) < count or times[0] <= first or count == _MOST_HISTORY:
            break
        count = min((times[-1] - first) // strategy.bar_millis + 1, _MOST_HISTORY)
    rows = np.array([bars[symbol] for symbol in strategy.symbols], dtype=np.float64)
    values = rows.reshape(len(strategy.symbols), len(times), len(FIELDS)).transpose(2, 1, 0)
    return Bars(_times(times), strategy.symbols, strategy.timeframe, values)


def _history(
    gateway: str, token: str, strategy: Strategy, count: int
) -> tuple[Sequence[Millis], Mapping[str, Sequence[Sequence[float]]]]:
    subscription = {"symbols": list(strategy.symbols), "timeframe": strategy.timeframe, "history": count}
    with Link(gateway, token, subscription) as link:
        while True:
            try:
                message = link.inbox.get(timeout=_PATIENCE)
            except Empty as error:
                raise Unavailable(f"the gateway at {gateway} does not answer; the run cannot be shown") from error
            if message["type"] == "failed":
                raise message["error"]
            if message["type"] == "bars.history":
                return message["times"], message["bars"]


def _times(times: Any) -> Any:
    return np.fromiter((int(time) for time in times), dtype=np.int64)
