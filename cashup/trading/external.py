"""Orders and trades that somebody else made on the same account: marked as such, booked to the account itself.

They go through the same state machine as ours; nothing is reserved for them here and nothing of ours cancels them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncEngine

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
        known = _completed(before, fact) if isinstance(fact, OrderReport) else _roomy(before, fact)
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


class ExternalOrders:
    """The external orders of one account; `underway` are those that have not ended, by the venue's id."""

    def __init__(self, engine: AsyncEngine, account: str) -> None:
        self.underway: dict[str, ExternalOrder] = {}
        self._engine = engine
        self._account = account

    async def load(self) -> None:
        """Read those that have not ended from the tables."""
        self.underway = await self._read(orders.c.state == OrderState.OPEN.value)

    def forget_ended(self) -> None:
        """After a commit: those that have ended need not be remembered."""
        self.underway = {ident: one for ident, one in self.underway.items() if not one.order.state.terminal}

    async def learn(self, fact: OrderReport | Trade, opened_at: Millis, turn: Turn) -> None:
        """Merge a fact, and book a trade that is not booked yet.

        Trades before `opened_at` are in what the account held when it was opened.
        """
        if isinstance(fact, Trade) and (fact.time < opened_at or await self._booked(fact, turn)):
            return
        ident = fact.exchange_order_id
        if ident not in self.underway:
            known = await self._read(orders.c.exchange_order_id == ident)
            self.underway[ident] = known.get(ident) or adopt(fact, self._account, turn)
        self.underway[ident].learn(fact, turn)
        if isinstance(fact, Trade):
            book_trade(fact, self._account, turn)

    async def _booked(self, trade: Trade, turn: Turn) -> bool:
        name = (trade.symbol, trade.trade_id)
        if name in {(row["symbol"], row["trade_id"]) for row in turn.fills}:
            return True
        fill = fills.c
        query = select(fill.id).where(fill.account == self._account, fill.symbol == name[0], fill.trade_id == name[1])
        async with self._engine.connect() as connection:
            return (await connection.execute(query)).first() is not None

    async def _read(self, which: ColumnElement[bool]) -> dict[str, ExternalOrder]:
        query = select(orders).where(orders.c.account == self._account, orders.c.origin == ORIGIN, which)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).mappings().all()
            names = [row["client_order_id"] for row in rows]
            traded: dict[str, list[str]] = {}
            found = select(fills.c.client_order_id, fills.c.trade_id).where(fills.c.client_order_id.in_(names))
            for name, trade_id in await connection.execute(found) if names else ():
                traded.setdefault(name, []).append(trade_id)
        return {row["exchange_order_id"]: _read(dict(row), traded.get(row["client_order_id"], ())) for row in rows}


def book_trade(trade: Trade, account: str, turn: Turn) -> None:
    """Book the trade to the account's own holdings."""
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


def _read(row: Mapping[str, Any], trade_ids: Sequence[str]) -> ExternalOrder:
    return ExternalOrder(read_order(row, trade_ids), row["account"], row["created_at"])


def _completed(order: Order, report: OrderReport) -> Order:
    """`order` with what only a report says of it, when a trade came first."""
    limit = order.type is OrderType.LIMIT or report.price is not None
    return replace(
        order,
        quantity=report.quantity if order.quantity is None else order.quantity,
        price=report.price if order.price is None else order.price,
        type=OrderType.LIMIT if limit else OrderType.MARKET,
    )


def _roomy(order: Order, trade: Trade) -> Order:
    """`order` without its quantity when the trade shows that somebody has raised it; the next report tells it."""
    if order.quantity is None or trade.trade_id in order.trade_ids:
        return order
    return order if order.traded + trade.quantity <= order.quantity else replace(order, quantity=None)
