"""What the API shows of orders, fills, positions and equity. Money stays `Decimal` and leaves as text."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, or_, select
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.orders import record
from cashup.orders.tables import fills, orders
from cashup.trading.tables import equity, positions

Row = dict[str, Any]

MOST = 100_000
"""Rows that one answer holds at most: the newest ones, oldest first."""


async def list_orders(engine: AsyncEngine, deployment: str | None = None, limit: int = MOST) -> list[Row]:
    """Orders, of one deployment or of all, oldest first."""
    query = select(orders).order_by(orders.c.created_at.desc(), orders.c.client_order_id.desc()).limit(limit)
    if deployment is not None:
        query = query.where(orders.c.deployment == deployment)
    return [record.view(row) for row in reversed(await _rows(engine, query))]


async def find_order(engine: AsyncEngine, order: str) -> Row | None:
    """One order by our id or the venue's; None when there is none, or the venue's id names several."""
    query = select(orders).where(or_(orders.c.client_order_id == order, orders.c.exchange_order_id == order))
    found = await _rows(engine, query.limit(2))
    return record.view(found[0]) if len(found) == 1 else None


async def list_fills(engine: AsyncEngine, deployment: str | None = None, limit: int = MOST) -> list[Row]:
    """Executions, of one deployment or of all, oldest first."""
    query = select(fills).order_by(fills.c.id.desc()).limit(limit)
    if deployment is not None:
        query = query.where(fills.c.deployment == deployment)
    return (await _rows(engine, query))[::-1]


async def list_positions(engine: AsyncEngine, deployment: str | None = None) -> list[Row]:
    """What is held per symbol: `quantity` is all of it, `reserved` the part that orders hold."""
    query = select(positions).order_by(positions.c.deployment, positions.c.symbol)
    if deployment is not None:
        query = query.where(positions.c.deployment == deployment)
    return [{**row, "quantity": row["quantity"] + row["reserved"]} for row in await _rows(engine, query)]


async def list_equity(engine: AsyncEngine, deployment: str) -> list[Row]:
    """The worth of the book right after the close of each decided bar, oldest first."""
    query = select(equity.c.bar, equity.c.equity, equity.c.cash, equity.c.at)
    return await _rows(engine, query.where(equity.c.deployment == deployment).order_by(equity.c.bar))


async def _rows(engine: AsyncEngine, query: Select[Any]) -> list[Row]:
    async with engine.connect() as connection:
        # SQLAlchemy may name a column by a subclass of str, which is no key to a JSON writer.
        return [
            {str(name): value for name, value in row.items()} for row in (await connection.execute(query)).mappings()
        ]
