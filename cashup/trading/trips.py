"""Round trips of deployments as they lie in the database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from cashup.orders.journal import Write
from cashup.trading.risk.protections import memory
from cashup.trading.risk.round_trip import ClosedTrade, RoundTrip
from cashup.trading.rules import Rules
from cashup.trading.tables import closed_trades, open_trips
from cashup.types import ZERO, Millis, Side, Symbol

ADD_CLOSED = Write(
    "add_closed_trades",
    closed_trades,
    ("deployment", "symbol", "side", "opened_at", "closed_at", "entered", "profit", "reason"),
)
SAVE_TRIPS = Write(
    "save_trips",
    open_trips,
    ("opened_at", "quantity", "paid", "received"),
    keys=("deployment", "symbol"),
    mode="upsert",
)


def closed_row(deployment: str, trade: ClosedTrade) -> dict[str, Any]:
    """The row that `ADD_CLOSED` writes."""
    return {
        "deployment": deployment,
        "symbol": trade.symbol,
        "side": trade.side.value,
        "opened_at": trade.opened_at,
        "closed_at": trade.closed_at,
        "entered": trade.entered,
        "profit": trade.profit,
        "reason": trade.reason,
    }


def trip_row(deployment: str, symbol: Symbol, trip: RoundTrip | None) -> dict[str, Any]:
    """The row that `SAVE_TRIPS` writes; one without a quantity for a trip that has ended."""
    one = trip or RoundTrip(symbol, 0)
    row = {"opened_at": one.opened_at, "quantity": one.quantity, "paid": one.paid, "received": one.received}
    return {"deployment": deployment, "symbol": symbol, **row}


async def load_trips(connection: AsyncConnection, deployments: list[str]) -> dict[str, dict[Symbol, RoundTrip]]:
    """The trips that are on their way, by deployment and symbol."""
    mine = open_trips.c.deployment.in_(deployments) & (open_trips.c.quantity != ZERO)
    found: dict[str, dict[Symbol, RoundTrip]] = {}
    for row in await connection.execute(select(open_trips).where(mine)):
        trip = RoundTrip(Symbol(row.symbol), row.opened_at, row.quantity, row.paid, row.received)
        found.setdefault(row.deployment, {})[trip.symbol] = trip
    return found


async def load_closed(
    connection: AsyncConnection, rules: Mapping[str, Rules], now: Millis
) -> dict[str, list[ClosedTrade]]:
    """The closed trades that protections may look at, by deployment, oldest first."""
    found: dict[str, list[ClosedTrade]] = {}
    for deployment, rule in rules.items():
        if not rule.protections:
            continue
        trade = closed_trades.c
        since = now - memory(rule.protections, rule.timeframe)
        query = select(closed_trades).where(trade.deployment == deployment, trade.closed_at > since)
        found[deployment] = [
            ClosedTrade(
                Symbol(row.symbol),
                Side(row.side),
                row.opened_at,
                row.closed_at,
                row.entered,
                row.profit,
                row.reason,
            )
            for row in await connection.execute(query.order_by(trade.id))
        ]
    return found
