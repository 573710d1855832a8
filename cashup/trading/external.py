"""Orders and trades that somebody else made on the same account: marked as such, booked to the account itself.

They go through the same state machine as ours; nothing is reserved for them here and nothing of ours cancels them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from cashup.orders.history import Source
from cashup.orders.record import read_order
from cashup.orders.state import Order, apply
from cashup.orders.tables import fills, orders
from cashup.trading.ledger import Posting
from cashup.trading.turn import Turn
from cashup.types import ZERO, Millis, OrderReport, OrderState, OrderType, Side, TimeInForce, Trade

ORIGIN = "external"


@dataclass(slots=True)
class ExternalOrder:
    """One order of somebody else. Its client order id here is `external-` and the venue's id."""

    order: Order
    account: str
    created_at: Millis

    def learn(self, fact: OrderReport | Trade, turn: Turn) -> None:
        """Merge the venue's word, with a row in the order's history when it says something new."""
        before = self.order
        known = _completed(before, fact)
        self.order = apply(known, replace(fact, client_order_id=None))
        turn.noted(self.order, self.account, before, fact)
        if self.order != before:
            turn.external[self.order.client_order_id] = self._row(turn.now)

    def _row(self, now: Millis) -> dict[str, Any]:
        order = self.order
        return {
            "client_order_id": order.client_order_id,
            "account": self.account,
            "deployment": None,
            "intent": None,
            "bar": None,
            "origin": ORIGIN,
            "symbol": order.symbol,
            "side": order.side.value,
            "type": order.type.value,
            "quantity": order.quantity,
            "cost": None,
            "price": order.price,
            "time_in_force": order.time_in_force.value,
            "state": order.state.value,
            "exchange_order_id": order.exchange_order_id,
            "traded": order.traded,
            "spent": order.spent,
            "reported": order.reported,
            "fees": order.fees,
            "reason": order.reason,
            "reserved": ZERO,
            "reduces": False,
            "flattens": False,
            "limits": {},
            "created_at": self.created_at,
            "updated_at": now,
        }


def adopt(fact: OrderReport | Trade, account: str, turn: Turn) -> ExternalOrder:
    """The external order that `fact` is the first word about."""
    order = Order(
        client_order_id=name_of(fact.exchange_order_id),
        symbol=fact.symbol,
        side=fact.side,
        type=OrderType.MARKET,
        time_in_force=TimeInForce.GTC,
        state=OrderState.OPEN,
        exchange_order_id=fact.exchange_order_id,
    )
    detail = {**turn.source.detail, "text": fact.client_order_id}
    turn.began(order, account, Source(turn.source.actor, turn.source.cause, detail))
    return ExternalOrder(order, account, turn.now)


def name_of(exchange_order_id: str) -> str:
    """The id under which an external order is kept."""
    return f"{ORIGIN}-{exchange_order_id}"


async def load_external(
    connection: AsyncConnection, account: str, exchange_order_id: str | None = None
) -> dict[str, ExternalOrder]:
    """External orders by the venue's id: those that have not ended, or the one that is named."""
    query = select(orders).where(orders.c.account == account, orders.c.origin == ORIGIN)
    if exchange_order_id is None:
        query = query.where(orders.c.state == OrderState.OPEN.value)
    else:
        query = query.where(orders.c.exchange_order_id == exchange_order_id)
    rows = (await connection.execute(query)).mappings().all()
    traded: dict[str, list[str]] = {}
    names = [row["client_order_id"] for row in rows]
    found = select(fills.c.client_order_id, fills.c.trade_id).where(fills.c.client_order_id.in_(names))
    for name, trade_id in await connection.execute(found) if names else ():
        traded.setdefault(name, []).append(trade_id)
    return {row["exchange_order_id"]: _read(dict(row), traded.get(row["client_order_id"], ())) for row in rows}


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
    turn.fill(name_of(trade.exchange_order_id), None, trade)
    moved[trade.fee_currency] = moved.get(trade.fee_currency, ZERO) - trade.fee
    return moved


def _read(row: Mapping[str, Any], trade_ids: Any) -> ExternalOrder:
    return ExternalOrder(read_order(row, trade_ids), row["account"], row["created_at"])


def _completed(order: Order, fact: OrderReport | Trade) -> Order:
    """`order` with what only a report says of it, which a trade that came first did not.

    Its owner may have amended it, of which a trade may be the first word: then it is for as much as has been traded.
    """
    if not isinstance(fact, OrderReport):
        traded = order.traded + fact.quantity
        known = fact.trade_id in order.trade_ids or order.quantity is None or traded <= order.quantity
        return order if known else replace(order, quantity=traded)
    priced = fact.price is not None
    return replace(
        order,
        quantity=fact.quantity if fact.quantity is not None else order.quantity,
        price=fact.price if priced else order.price,
        type=OrderType.LIMIT if priced else order.type,
    )
