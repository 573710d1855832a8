"""Flattening: selling all that a deployment holds because a person says so.

It is an intent like any other, so that its orders are committed, claimed, followed and explained like any other, with
two differences: no halt holds its orders back, since they are the operator's and only reduce; and no bar is decided.
"""

from __future__ import annotations

from decimal import Decimal

from cashup.orders.history import Source
from cashup.orders.ids import client_order_id, ulid
from cashup.trading.desk import Desk
from cashup.trading.desks import Desks
from cashup.trading.intents import TIME_TO_LIVE, Intent, IntentState, Request
from cashup.trading.requests import FLATTEN
from cashup.trading.turn import Turn
from cashup.types import ZERO, OrderRequest, OrderType, Side, Symbol, TimeInForce


async def flatten(desks: Desks, deployment: str) -> str | None:
    """Go on with selling all that a deployment holds; what it waits for, None when nothing is left to sell."""
    desk = desks.desks.get(deployment)
    if desk is None:
        return None
    turn = desks.turn()
    turn.source = Source("operator", "flatten")
    waits = _sell(desk, turn)
    await desks.commit(turn)
    return waits


def _sell(desk: Desk, turn: Turn) -> str | None:
    """Go on with it: None when nothing is left that the venue would take, else a sentence that says what it waits for.

    Whatever is under way ends first, so that nothing is sold twice.
    """
    if desk.records or desk.intents:
        return f"{desk.deployment} still has {len(desk.records) or len(desk.intents)} orders under way"
    orders = [order for symbol in desk.book.positions if (order := _sale(desk, symbol, turn)) is not None]
    if not orders:
        return None
    targets = {order.symbol: ZERO for order in orders}
    request = Request(f"{FLATTEN}{ulid(turn.now)}", desk.decided or 0, dict(targets))
    intent = Intent(desk.deployment, request, 0, turn.now, turn.now + TIME_TO_LIVE, IntentState.BUYING)
    desk.begin(intent, orders, turn)
    desk.book = desk.book.with_targets(targets)
    desk.save(turn)
    detail = {"orders": [record.id for record in intent.orders]}
    turn.audit("system", "deployment.flatten", desk.deployment, detail)
    return f"{desk.deployment} sells {', '.join(targets)}"


def _sale(desk: Desk, symbol: Symbol, turn: Turn) -> OrderRequest | None:
    """All of the position in whole lots at the market; None for what is too little to be sold."""
    market = turn.markets.get(symbol)
    if market is None:
        return None
    quantity = market.round_quantity(desk.book.positions[symbol].quantity)
    price = turn.mark(symbol) or desk.prices.get(symbol) or Decimal("Infinity")
    if quantity <= 0 or quantity < market.min_quantity or quantity * price < market.min_cost:
        return None
    return OrderRequest(
        client_order_id=client_order_id(turn.now),
        symbol=symbol,
        side=Side.SELL,
        type=OrderType.MARKET,
        quantity=quantity,
        time_in_force=TimeInForce.IOC,
    )
