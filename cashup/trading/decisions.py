"""What a deployment decided, bar by bar, as it is on record: the intent, what it was sized at, what risk said."""

from __future__ import annotations

from typing import Any

from sqlalchemy import and_, select
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.trading.tables import attempts, equity, intents, ledger_entries
from cashup.types import Millis

Row = dict[str, Any]

PAGE = 5_000
"""Decisions that one answer holds at most; ask on with the last one's bar."""


async def list_decisions(
    engine: AsyncEngine, deployment: str, since: Millis = 0, until: Millis | None = None, limit: int = PAGE
) -> list[Row]:
    """The decisions on bars that opened in [since, until), oldest first.

    `equity cash at` are the book's worth, its cash and the time at which the decision was sized, None when it never
    was; `version` is the frozen notebook that decided. What an operator had sold (`flatten:`) is none of them.
    """
    by = and_(attempts.c.deployment == intents.c.deployment, attempts.c.number == intents.c.fence)
    sized = and_(equity.c.deployment == intents.c.deployment, equity.c.bar == intents.c.bar)
    said = (intents.c.key, intents.c.bar, intents.c.fence, intents.c.state, intents.c.created_at, intents.c.body)
    query = (
        select(*said, intents.c.decisions, intents.c.plan, equity.c.equity, equity.c.cash, equity.c.at)
        .add_columns(attempts.c.version)
        .outerjoin(equity, sized)
        .outerjoin(attempts, by)
        .where(intents.c.deployment == deployment, intents.c.kind == "target", intents.c.fence > 0)
        .where(intents.c.bar >= since)
        .order_by(intents.c.bar)
        .limit(limit)
    )
    if until is not None:
        query = query.where(intents.c.bar < until)
    return [_decision(row) for row in await _rows(engine, query)]


async def list_payments(engine: AsyncEngine, deployment: str) -> list[Row]:
    """When the deployment got capital, or gave some back, oldest first: `at amount` in its quote currency."""
    entry = ledger_entries.c
    mine = and_(entry.deployment == deployment, entry.cause == f"capital:{deployment}", entry.kind == "cash")
    return await _rows(engine, select(entry.at, entry.amount).where(mine).order_by(entry.id))


def _decision(row: Row) -> Row:
    body, plan = row.pop("body"), row.pop("plan") or {}
    return row | {
        "targets": body["targets"],
        "rebalance": body["rebalance"],
        "marks": plan.get("marks", {}),
        "sizing": plan.get("sizing"),
    }


async def _rows(engine: AsyncEngine, query: Any) -> list[Row]:
    async with engine.connect() as connection:
        found = (await connection.execute(query)).mappings()
        return [{str(name): value for name, value in row.items()} for row in found]
