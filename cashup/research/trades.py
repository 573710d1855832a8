"""From orders to positions, equity and trades: plain arithmetic that a backtest and a live run share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

ORDER_COLUMNS = ("timestamp", "symbol", "side", "quantity", "price", "fee", "reason")
"""One row per executed order: the open time of the bar it was executed in (UTC), `buy` or `sell`, the quantity that
entered or left the position, its price, the fee in quote currency, and why: `target`, `rebalance`, `stop_loss`,
`take_profit` or `trailing_stop`."""

_EXECUTION = ORDER_COLUMNS[:6]

TRADE_COLUMNS = (
    *("symbol", "side", "quantity", "entry_time", "entry_price", "entry_fee", "exit_time", "exit_price", "exit_fee"),
    *("pnl", "return", "status"),
)
"""One row per exit: what closes (a part of) a `long` or a `short`, and what is still open at the end, valued at the
last close. Time in UTC, money in quote currency; `return` is the profit as a ratio of the entry's value."""

DUST = 1e-3
"""The fraction of a position that a full exit may leave, because venues sell whole lots and take fees in the coin."""


def empty_orders() -> pd.DataFrame:
    """No order, with the columns and types of some."""
    columns: dict[str, Any] = {
        "timestamp": pd.DatetimeIndex([], dtype="datetime64[ms, UTC]"),
        "symbol": pd.Series([], dtype="str"),
        "side": pd.Series([], dtype="str"),
    }
    columns |= {name: pd.Series([], dtype=np.float64) for name in ("quantity", "price", "fee")}
    return pd.DataFrame(columns | {"reason": pd.Series([], dtype="str")})


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
    value = (orders["quantity"] * orders["price"]).to_numpy()
    bought = (orders["side"] == "buy").to_numpy()
    flow = _grid(orders, np.where(bought, -value, value) - orders["fee"].to_numpy(), close)
    quantity = orders["quantity"].to_numpy(dtype=np.float64)
    held = np.cumsum(_grid(orders, np.where(bought, quantity, -quantity), close), axis=0)
    worth = held * close.to_numpy()
    if np.isnan(worth).any():
        worth = np.nan_to_num(worth)
    equity = np.cumsum(flow.sum(axis=1)) + capital + worth.sum(axis=1)
    return pd.Series(equity, index=close.index, name="equity")


def trades_of(orders: pd.DataFrame, close: pd.DataFrame) -> pd.DataFrame:
    """The trades that `orders` (ordered by time) make.

    An order against a position closes the share it takes of it, at the average price and with its share of the fees of
    the entries; what is more than the position opens one on the other side. What a venue's lots leave behind (less than
    DUST of the position) does not keep a trade open.
    """
    rows: list[tuple[Any, ...]] = []
    lots = {str(symbol): _Lot(str(symbol)) for symbol in close.columns}
    for time, symbol, side, quantity, price, fee in orders[list(_EXECUTION)].itertuples(index=False, name=None):
        rows.extend(lots[symbol].trade(time, quantity if side == "buy" else -quantity, price, fee))
    for symbol, lot in lots.items():
        if abs(lot.quantity) > DUST * lot.largest:
            last = float(close[symbol].ffill().iloc[-1])
            rows.append(lot.leave(close.index[-1], abs(lot.quantity), last, 0.0, "open"))
    return _trade_frame(rows)


class _Lot:
    """The open position of one symbol (below zero: short): how much, at which price, its fees, when it was opened."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.quantity = self.price = self.fees = self.largest = 0.0
        self.opened: pd.Timestamp | None = None

    def trade(self, time: pd.Timestamp, quantity: float, price: float, fee: float) -> list[tuple[Any, ...]]:
        """One execution, `quantity` below zero when sold; the trade that it closes, if it closes one."""
        if self.quantity * quantity >= 0:
            self.enter(time, quantity, price, fee)
            return []
        closing = min(abs(quantity), abs(self.quantity))
        share = closing / abs(quantity)
        closed = self.leave(time, closing, price, fee * share, "closed")
        if 1 - share > DUST:
            self.enter(time, quantity * (1 - share), price, fee * (1 - share))
        return [closed]

    def enter(self, time: pd.Timestamp, quantity: float, price: float, fee: float) -> None:
        after = self.quantity + quantity
        if abs(self.quantity) <= DUST * abs(after):
            self.opened = time
        self.price = (self.price * self.quantity + price * quantity) / after if after else price
        self.quantity, self.largest = after, abs(after)
        self.fees += fee

    def leave(self, time: pd.Timestamp, quantity: float, price: float, fee: float, status: str) -> tuple[Any, ...]:
        """Close `quantity` (above zero) of the position; the trade as a row."""
        direction = 1.0 if self.quantity > 0 else -1.0
        held = abs(self.quantity)
        share = quantity / held
        entry_fee = self.fees * share
        pnl = direction * quantity * (price - self.price) - entry_fee - fee
        row = (
            *(self.symbol, "long" if direction > 0 else "short", quantity),
            *(self.opened, self.price, entry_fee, time, price, fee),
            *(pnl, pnl / (quantity * self.price) if self.price else 0.0, status),
        )
        if held - quantity <= 1e-12 * held:  # what float arithmetic leaves of a closed position
            self.quantity = self.fees = 0.0
        else:
            self.quantity -= direction * quantity
            self.fees *= 1 - share
        return row


def _by_bar(orders: pd.DataFrame, values: pd.Series[float], close: pd.DataFrame) -> pd.DataFrame:
    """`values` of orders summed per bar and symbol, zero elsewhere. An order belongs to the bar that was then open."""
    grid = _grid(orders, np.asarray(values, dtype=np.float64), close)
    return pd.DataFrame(grid, index=close.index, columns=close.columns)


def _grid(orders: pd.DataFrame, values: NDArray[np.float64], close: pd.DataFrame) -> NDArray[np.float64]:
    grid = np.zeros(close.shape)
    rows = close.index.searchsorted(pd.DatetimeIndex(orders["timestamp"]), side="right") - 1
    columns = close.columns.get_indexer(pd.Index(orders["symbol"]))
    np.add.at(grid, (np.maximum(rows, 0), columns), values)
    return grid


def _trade_frame(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=list(TRADE_COLUMNS))
    for name in TRADE_COLUMNS:
        if name.endswith("_time"):
            frame[name] = pd.DatetimeIndex(frame[name]).as_unit("ms") if rows else empty_orders()["timestamp"]
        elif name not in ("symbol", "side", "status"):
            frame[name] = frame[name].astype(np.float64)
    return frame
