"""Profit: what is held at the newest price beside what it cost, per position and per deployment.

profit = equity - capital = realised + unrealised, to the last digit. A fee in base or quote currency is in it already:
it made a position smaller or dearer, or lessened the cash. A fee in a third asset was paid by the account; it is shown
beside it, and `net` is the profit after its worth at the newest price.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cashup.orders.tables import fills
from cashup.trading.tables import books, positions
from cashup.types import MONEY, ZERO, Symbol

Row = dict[str, Any]

MarkOf = Callable[[str, Symbol], Decimal | None]
"""The newest price of a symbol on the venue of an account, or None."""


async def valued_positions(engine: AsyncEngine, mark_of: MarkOf, deployment: str | None = None) -> list[Row]:
    """Positions with their average cost, and at the newest price their value and what is not realised of them.

    `quantity` is all of it, `reserved` the part that orders hold. Value and profit are None without a price.
    """
    query = select(positions, books.c.account).join(books, books.c.deployment == positions.c.deployment)
    if deployment is not None:
        query = query.where(positions.c.deployment == deployment)
    async with engine.connect() as connection:
        found = await connection.execute(query.order_by(positions.c.deployment, positions.c.symbol))
        return [_valued({str(name): value for name, value in row.items()}, mark_of) for row in found.mappings()]


async def profit_of(engine: AsyncEngine, mark_of: MarkOf, deployment: str) -> Row | None:
    """The profit of a deployment, None before it has its capital. Sums are None while a held symbol has no price."""
    async with engine.connect() as connection:
        found = (await connection.execute(select(books).where(books.c.deployment == deployment))).mappings().first()
        if found is None:
            return None
        book = dict(found)
        fees = await _fees(connection, deployment)
    held = await valued_positions(engine, mark_of, deployment)
    cash, realised = book["cash"] + book["reserved"], sum((row["realised"] for row in held), ZERO)
    unpriced = [row["symbol"] for row in held if row["quantity"] and row["value"] is None]
    unrealised = None if unpriced else sum((row["unrealised"] or ZERO for row in held), ZERO)
    equity = None if unpriced else cash + sum((row["value"] or ZERO for row in held), ZERO)
    elsewhere = _worth(fees, {row["asset"] for row in held} | {book["quote"]}, book, mark_of)
    profit = None if equity is None else equity - book["capital"]
    return {
        "deployment": deployment,
        "account": book["account"],
        "quote": book["quote"],
        "capital": book["capital"],
        "cash": cash,
        "equity": equity,
        "profit": profit,
        "realised": realised,
        "unrealised": unrealised,
        "fees": fees,
        "fees_of_the_account": elsewhere,
        "net": None if profit is None or elsewhere is None else profit - elsewhere,
        "unpriced": unpriced,
    }


def _valued(row: Row, mark_of: MarkOf) -> Row:
    quantity = row["quantity"] + row["reserved"]
    mark = mark_of(row["account"], Symbol(row["symbol"]))
    value = ZERO if not quantity else None if mark is None else quantity * mark
    return row | {
        "quantity": quantity,
        "average_cost": MONEY.divide(row["cost"], quantity) if quantity else None,
        "mark": mark,
        "value": value,
        "unrealised": None if value is None else value - row["cost"],
    }


async def _fees(connection: AsyncConnection, deployment: str) -> dict[str, Decimal]:
    """Every fee that was paid for the deployment's orders, per asset."""
    fill = fills.c
    query = select(fill.fee_currency, func.sum(fill.fee)).where(fill.deployment == deployment)
    return {str(asset): fee for asset, fee in await connection.execute(query.group_by(fill.fee_currency)) if fee}


def _worth(fees: Mapping[str, Decimal], own: set[str], book: Mapping[str, Any], mark_of: MarkOf) -> Decimal | None:
    """What the fees in assets that are not the deployment's `own` are worth, in quote; None without a price of one."""
    total = ZERO
    for asset, fee in fees.items():
        if asset not in own:
            mark = mark_of(book["account"], Symbol(f"{asset}/{book['quote']}"))
            if mark is None:
                return None
            total += fee * mark
    return total
