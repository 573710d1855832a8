"""Limit orders of the deployment `demo` that wait to be sent, written down as the journal would have written them."""

from __future__ import annotations

import itertools
from decimal import Decimal

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.events import EventKind
from cashup.orders.ids import client_order_id
from cashup.orders.tables import order_events, orders
from cashup.storage.outbox import emit
from cashup.trading import tables
from cashup.types import Symbol
from tests.integration.trading.conftest import BTC

FAR = 1 << 42
_bars = itertools.count(1)


async def leave_limits(
    database: AsyncEngine, count: int, symbol: Symbol = BTC, *, price: str = "10000", quantity: str = "0.001"
) -> list[str]:
    """So many bids far below the market, their money set aside, in one intent that has all the time in the world."""
    cost = Decimal(price) * Decimal(quantity)
    ids = [client_order_id(1_800_000_000_000 + number) for number in range(count)]
    key, bar = f"limits-{ids[0]}", -next(_bars)
    intent = {"deployment": "demo", "key": key, "bar": bar, "body_hash": "x", "fence": 1, "state": "buying"}
    intent |= {"body": {"targets": {symbol: "0.5"}, "rebalance": None}, "decisions": []}
    intent |= {"created_at": 0, "expires_at": FAR}
    order = {"account": "main", "deployment": "demo", "intent": key, "bar": bar, "symbol": symbol, "side": "buy"}
    order |= {"type": "limit", "quantity": Decimal(quantity), "price": Decimal(price), "time_in_force": "gtc"}
    order |= {"state": "pending_send", "fees": {}, "reserved_asset": symbol.partition("/")[2], "reserved": cost}
    order |= {"limits": {}, "created_at": 0, "updated_at": 0}
    entry = {"account": "main", "deployment": "demo", "asset": "USDT", "at": 1}
    books = tables.books.c
    async with database.begin() as connection:
        await connection.execute(insert(tables.intents).values(intent))
        await emit(connection, "deployment:demo", EventKind.INTENT_ACCEPTED, {"key": key, "bar": bar}, 0)
        await connection.execute(insert(orders), [order | {"client_order_id": ident} for ident in ids])
        for ident in ids:
            began = {"client_order_id": ident, "account": "main", "at": 1, "event": "created", "actor": "test"}
            began |= {"to_state": "pending_send", "cause": "", "detail": {}}
            await connection.execute(insert(order_events).values(began))
            moved = entry | {"transaction": ident, "cause": f"order:{ident}"}
            rows = [moved | {"kind": "cash", "amount": -cost}, moved | {"kind": "reserved", "amount": cost}]
            await connection.execute(insert(tables.ledger_entries), rows)
        total = cost * count
        await connection.execute(update(tables.books).values(cash=books.cash - total, reserved=books.reserved + total))
    return ids


async def states(database: AsyncEngine) -> dict[str, str]:
    """Every order's state."""
    async with database.connect() as connection:
        query = select(orders.c.client_order_id, orders.c.state).order_by(orders.c.created_at)
        return {row.client_order_id: row.state for row in await connection.execute(query)}
