"""From orders to positions, equity and trades: plain arithmetic that a backtest and a live run share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

ORDER_COLUMNS = ("timestamp", "symbol", "side", "quantity", "price", "fee")
"""One row per executed order: the open time of the bar it was executed in (UTC), `buy` or `sell`, the quantity that
entered or left the position, its price, and the fee in quote currency."""

TRADE_COLUMNS = (
    *("symbol", "quantity", "entry_time", "entry_price", "entry_fee", "exit_time", "exit_price", "exit_fee"),
    *("pnl", "return", "status"),
)
"""One row per exit: every sell, and what is still open at the end, valued at the last close."""

DUST = 1e-3
"""The fraction of a position that a full sell may leave, because venues sell whole lots and take fees in the coin."""


def empty_orders() -> pd.DataFrame:
    """No order, with the columns and types of some."""
    columns: dict[str, Any] = {
        "timestamp": pd.DatetimeIndex([], dtype="datetime64[ms, UTC]"),
        "symbol": pd.Series([], dtype="str"),
        "side": pd.Series([], dtype="str"),
    }
    return pd.DataFrame(columns | {name: pd.Series([], dtype=np.float64) for name in ORDER_COLUMNS[3:]})


def no_funding() -> pd.DataFrame:
    """No funding payment, with the columns and types of some."""
    return empty_orders()[["timestamp", "symbol"]].assign(amount=pd.Series([], dtype=np.float64))


def positions_of(orders: pd.DataFrame, close: pd.DataFrame) -> pd.DataFrame:
    """Held quantities at each bar's close, time x symbol."""
    signed = orders["quantity"].where(orders["side"] == "buy", -orders["quantity"])
    return _by_bar(orders, signed, close).cumsum()


def cash_of(orders: pd.DataFrame, close: pd.DataFrame, capital: float) -> pd.Series[float]:
    """Cash at each bar's close, in quote currency."""
    value = orders["quantity"] * orders["price"]
    flow = (-value).where(orders["side"] == "buy", value) - orders["fee"]
    return _by_bar(orders, flow, close).sum(axis=1).cumsum() + capital


def equity_of(orders: pd.DataFrame, close: pd.DataFrame, capital: float) -> pd.Series[float]:
    """Cash and positions at each bar's close, in quote currency."""
    held = (positions_of(orders, close) * close).sum(axis=1)
    return (cash_of(orders, close, capital) + held).rename("equity")


def trades_of(orders: pd.DataFrame, close: pd.DataFrame) -> pd.DataFrame:
    """The trades that `orders` (ordered by time) make.

    A sell closes the share it takes of the position, at the average price and with its share of the fees of the buys.
    What a venue's lots leave behind (less than DUST of the position) does not keep a trade open.
    """
    rows: list[tuple[Any, ...]] = []
    lots = {str(symbol): _Lot(str(symbol)) for symbol in close.columns}
    for time, symbol, side, quantity, price, fee in orders[list(ORDER_COLUMNS)].itertuples(index=False, name=None):
        lot = lots[symbol]
        if side == "buy":
            lot.buy(time, quantity, price, fee)
        else:
            rows.append(lot.sell(time, quantity, price, fee, "closed"))
    for symbol, lot in lots.items():
        if lot.quantity > DUST * lot.bought:
            rows.append(lot.sell(close.index[-1], lot.quantity, float(close[symbol].iloc[-1]), 0.0, "open"))
    return _trade_frame(rows)


class _Lot:
    """The open position of one symbol: how much, what it cost, and when it was opened."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.quantity = self.cost = self.fees = self.bought = 0.0
        self.opened: pd.Timestamp | None = None

    def buy(self, time: pd.Timestamp, quantity: float, price: float, fee: float) -> None:
        if self.quantity <= DUST * (self.quantity + quantity):
            self.opened = time
        self.quantity += quantity
        self.bought = self.quantity
        self.cost += quantity * price
        self.fees += fee

    def sell(self, time: pd.Timestamp, quantity: float, price: float, fee: float, status: str) -> tuple[Any, ...]:
        share = quantity / self.quantity if self.quantity else 0.0
        entry, entry_fee, opened = (
            (self.cost / self.quantity if self.quantity else price),
            self.fees * share,
            self.opened,
        )
        pnl = quantity * (price - entry) - entry_fee - fee
        left = self.quantity - quantity
        if left <= 1e-12 * self.quantity:  # what float arithmetic leaves of a closed position
            self.quantity = self.cost = self.fees = 0.0
        else:
            self.quantity, self.cost, self.fees = left, self.cost * (1 - share), self.fees * (1 - share)
        return (
            *(self.symbol, quantity, opened, entry, entry_fee, time, price, fee),
            *(pnl, pnl / (quantity * entry) if entry else 0.0, status),
        )


def _by_bar(orders: pd.DataFrame, values: pd.Series[float], close: pd.DataFrame) -> pd.DataFrame:
    """`values` of orders summed per bar and symbol, zero elsewhere. An order belongs to the bar that was then open."""
    grid = np.zeros(close.shape)
    rows = close.index.searchsorted(pd.DatetimeIndex(orders["timestamp"]), side="right") - 1
    columns = close.columns.get_indexer(pd.Index(orders["symbol"]))
    np.add.at(grid, (np.maximum(rows, 0), columns), values.to_numpy(dtype=np.float64))
    return pd.DataFrame(grid, index=close.index, columns=close.columns)


def _trade_frame(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=list(TRADE_COLUMNS))
    for name in TRADE_COLUMNS:
        if name.endswith("_time"):
            frame[name] = pd.DatetimeIndex(frame[name]).as_unit("ms") if rows else empty_orders()["timestamp"]
        elif name not in ("symbol", "status"):
            frame[name] = frame[name].astype(np.float64)
    return frame
