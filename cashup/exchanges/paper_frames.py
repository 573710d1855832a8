"""The private frames of a paper account: orders and trades as JSON, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from cashup.errors import IntegrityError
from cashup.types import Frame, OrderReport, Side, Symbol, Trade

ORDERS = "orders"
TRADES = "trades"


def order_frame(report: OrderReport) -> Frame:
    """An order as a frame; two frames that say the same have the same key."""
    body = {
        "text": report.client_order_id,
        "id": report.exchange_order_id,
        "symbol": report.symbol,
        "side": report.side.value,
        "filled": str(report.filled),
        "done": report.done,
        "reason": report.reason,
        "updated_at": report.updated_at,
        "quantity": _text(report.quantity),
        "average_price": _text(report.average_price),
        "price": _text(report.price),
    }
    terms = f"{report.filled}:{report.quantity}:{report.price}"
    key = f"{report.exchange_order_id}:{report.updated_at}:{terms}:{report.reason}"
    return Frame(ORDERS, key, body)


def trade_frame(trade: Trade) -> Frame:
    """A trade as a frame."""
    body = {
        "id": trade.trade_id,
        "order": trade.exchange_order_id,
        "text": trade.client_order_id,
        "symbol": trade.symbol,
        "side": trade.side.value,
        "price": str(trade.price),
        "quantity": str(trade.quantity),
        "fee": str(trade.fee),
        "fee_currency": trade.fee_currency,
        "time": trade.time,
    }
    return Frame(TRADES, f"{trade.symbol}:{trade.trade_id}", body)


def read_frame(frame: Frame) -> Sequence[OrderReport | Trade]:
    """What a frame says; raises IntegrityError for a channel or a value that it cannot read."""
    try:
        if frame.channel == TRADES:
            return [_trade(frame.body)]
        if frame.channel == ORDERS:
            return [_order(frame.body)]
    except (KeyError, TypeError, ValueError, InvalidOperation) as error:
        raise IntegrityError(f"a frame of the channel {frame.channel} cannot be read: {error!r}") from error
    raise IntegrityError(f"a frame of the unknown channel {frame.channel} cannot be read")


def _order(body: Mapping[str, Any]) -> OrderReport:
    return OrderReport(
        client_order_id=body["text"],
        exchange_order_id=body["id"],
        symbol=Symbol(body["symbol"]),
        side=Side(body["side"]),
        filled=Decimal(body["filled"]),
        done=body["done"],
        reason=body["reason"],
        updated_at=body["updated_at"],
        quantity=_money(body["quantity"]),
        average_price=_money(body["average_price"]),
        price=_money(body.get("price")),
    )


def _trade(body: Mapping[str, Any]) -> Trade:
    return Trade(
        trade_id=body["id"],
        exchange_order_id=body["order"],
        client_order_id=body["text"],
        symbol=Symbol(body["symbol"]),
        side=Side(body["side"]),
        price=Decimal(body["price"]),
        quantity=Decimal(body["quantity"]),
        fee=Decimal(body["fee"]),
        fee_currency=body["fee_currency"],
        time=body["time"],
    )


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else str(amount)


def _money(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
