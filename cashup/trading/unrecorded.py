"""A cancel that cannot be written down, because the database takes no writes: it is asked for all the same.

Nothing is lost by it. The order's row says what it said before, and as soon as there is a database again the venue is
compared with and tells that the order has ended.
"""

from __future__ import annotations

from sqlalchemy import or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import Clock
from cashup.errors import Unavailable
from cashup.exchanges.base import Exchange
from cashup.orders.executor import cancel
from cashup.orders.tables import orders
from cashup.types import Millis, ResultClass, Symbol

WITHIN: Millis = 5_000
"""How long after it was asked for such a cancel may reach the venue."""


async def cancel_unrecorded(
    exchange: Exchange, database: AsyncEngine, deployment: str, order: str, clock: Clock, why: Unavailable
) -> Unavailable:
    """Ask the venue for the end of a deployment's order, by our id or the venue's; the error for whoever asked for it.

    That is `why` itself when the order cannot be read or the venue does not confirm.
    """
    mine = or_(orders.c.client_order_id == order, orders.c.exchange_order_id == order)
    query = select(orders).where(orders.c.deployment == deployment, mine)
    try:
        async with database.connect() as connection:
            row = (await connection.execute(query)).mappings().first()
    except (SQLAlchemyError, OSError):
        row = None
    if row is None:
        return why
    ident = row["exchange_order_id"] or row["client_order_id"]
    result = await cancel(exchange, Symbol(row["symbol"]), ident, clock.now() + WITHIN, clock)
    if result.result is not ResultClass.ACCEPTED:
        return why
    return Unavailable(
        f"the venue has cancelled {order}, but it could not be written down: {why}", code="cancelled_unrecorded"
    )
