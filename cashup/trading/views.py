"""What the API shows of orders, fills, the ledger and equity. Money stays `Decimal` and leaves as text."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.orders import record
from cashup.orders.tables import account_leases, fills, orders
from cashup.trading.tables import attempts, equity, intents, ledger_entries

Row = dict[str, Any]

MOST = 100_000
"""Rows that one answer holds at most: the newest ones, oldest first."""


async def list_orders(engine: AsyncEngine, deployment: str | None = None, limit: int = MOST) -> list[Row]:
    """Orders, of one deployment or of all, oldest first."""
    query = of_version().order_by(orders.c.created_at.desc(), orders.c.client_order_id.desc()).limit(limit)
    if deployment is not None:
        query = query.where(orders.c.deployment == deployment)
    return [_order(row) for row in reversed(await _rows(engine, query))]


async def find_order(engine: AsyncEngine, order: str) -> Row | None:
    """One order by our id or the venue's; None when there is none, or the venue's id names several."""
    query = of_version().where(or_(orders.c.client_order_id == order, orders.c.exchange_order_id == order))
    found = await _rows(engine, query.limit(2))
    return _order(found[0]) if len(found) == 1 else None


def of_version() -> Select[Any]:
    """Orders with the `version` and the `notebook_hash` of the attempt that asked for them; None of anybody else's."""
    asked = and_(intents.c.deployment == orders.c.deployment, intents.c.key == orders.c.intent)
    attempt = and_(attempts.c.deployment == intents.c.deployment, attempts.c.number == intents.c.fence)
    joined = orders.outerjoin(intents, asked).outerjoin(attempts, attempt)
    return select(orders, attempts.c.version, attempts.c.notebook_hash).select_from(joined)


def _order(row: Row) -> Row:
    return record.view(row) | {"version": row["version"]}


async def list_fills(engine: AsyncEngine, deployment: str | None = None, limit: int = MOST) -> list[Row]:
    """Executions, of one deployment or of all, oldest first."""
    query = select(fills).order_by(fills.c.id.desc()).limit(limit)
    if deployment is not None:
        query = query.where(fills.c.deployment == deployment)
    return (await _rows(engine, query))[::-1]


async def list_ledger(
    engine: AsyncEngine, deployment: str | None = None, account: str | None = None, limit: int = MOST
) -> list[Row]:
    """Entries of the ledger, oldest first, each with the `balance` of its kind and asset after it.

    Balances are those of the deployment of the entry, or of the account itself where it has none.
    """
    entry = ledger_entries.c
    whose = (entry.account, entry.deployment, entry.kind, entry.asset)
    balance = func.sum(entry.amount).over(partition_by=whose, order_by=entry.id).label("balance")
    every = select(ledger_entries, balance)
    if deployment is not None:
        every = every.where(entry.deployment == deployment)
    if account is not None:
        every = every.where(entry.account == account)
    running = every.subquery()
    return (await _rows(engine, select(running).order_by(running.c.id.desc()).limit(limit)))[::-1]


async def reconciliation(engine: AsyncEngine, account: str) -> Row:
    """Whether the books of an account agree with its venue, and if not where they differ and what to do."""
    lease = account_leases.c
    query = select(lease.state, lease.message, lease.surveyed_at, lease.comparison).where(lease.account == account)
    rows = await _rows(engine, query)
    row: Row = rows[0] if rows else {"state": "idle", "message": "", "surveyed_at": None, "comparison": None}
    compared: Row = row.pop("comparison") or {"at": None, "cause": None, "clean": None, "differences": []}
    return {"account": account, **row, "state": row["state"].upper(), **compared}


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
