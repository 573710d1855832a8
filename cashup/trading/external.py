"""Orders and trades that somebody else made on the same account: marked as such, booked to the account itself."""

from __future__ import annotations

from decimal import Decimal

from cashup.orders.journal import Write
from cashup.orders.tables import orders
from cashup.trading.ledger import Posting
from cashup.trading.turn import Turn
from cashup.types import ZERO, OrderReport, OrderState, OrderType, Side, TimeInForce, Trade

NOTE_ORDERS = Write(
    "note_orders",
    orders,
    (
        *("account", "origin", "symbol", "side", "type", "quantity", "time_in_force", "state", "exchange_order_id"),
        *("traded", "spent", "reported", "fees", "reason", "reserved", "limits", "created_at", "updated_at"),
    ),
    keys=("client_order_id",),
    mode="upsert",
)


def note_order(report: OrderReport, account: str, turn: Turn) -> None:
    """Show the order as it stands; nothing is reserved for it and nothing will cancel it."""
    ident = f"external-{report.exchange_order_id}"
    rows = turn.commit.writes.setdefault(NOTE_ORDERS, [])
    rows[:] = [row for row in rows if row["client_order_id"] != ident]
    rows.append(
        {
            "client_order_id": ident,
            "account": account,
            "origin": "external",
            "symbol": report.symbol,
            "side": report.side.value,
            "type": OrderType.LIMIT.value,
            "quantity": report.quantity,
            "time_in_force": TimeInForce.GTC.value,
            "state": _state(report).value,
            "exchange_order_id": report.exchange_order_id,
            "traded": ZERO,
            "spent": ZERO,
            "reported": report.filled,
            "fees": {},
            "reason": report.reason,
            "reserved": ZERO,
            "limits": {},
            "created_at": turn.now,
            "updated_at": turn.now,
        }
    )


def book_trade(trade: Trade, account: str, turn: Turn) -> dict[str, Decimal]:
    """Book the trade to the account's own holdings; the change per asset."""
    market = turn.markets[trade.symbol]
    value = trade.price * trade.quantity
    sign = 1 if trade.side is Side.BUY else -1
    moved = {market.base: sign * trade.quantity, market.quote: -sign * value}
    posting = Posting(account, None, f"external:{trade.symbol}:{trade.trade_id}", turn.now)
    for asset, amount in moved.items():
        posting.add("cash", asset, amount).add("market", asset, -amount)
    posting.move(trade.fee_currency, trade.fee, "cash", "fee")
    turn.post(posting)
    turn.fill(None, trade)
    moved[trade.fee_currency] = moved.get(trade.fee_currency, ZERO) - trade.fee
    return moved


def _state(report: OrderReport) -> OrderState:
    if not report.done:
        return OrderState.OPEN
    return OrderState.FILLED if report.reason == "filled" else OrderState.CANCELLED
