"""What the simulation asks of the tables."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.trading.tables import deployments

_UNREST = {
    "orders whose fate is open": """
        SELECT client_order_id FROM orders WHERE reported > traded
        OR state NOT IN ('filled', 'cancelled', 'rejected', 'rejected_local', 'not_placed', 'expired')
        """,
    "intents that are not carried out": "SELECT deployment || ' ' || key FROM intents WHERE finished_at IS NULL",
    "frames that nobody acted on": "SELECT id FROM inbox WHERE NOT applied",
    "accounts that are not ready": "SELECT account || ': ' || state || ' ' || message FROM account_leases "
    "WHERE state <> 'ready'",
}


async def empty(database: AsyncEngine) -> None:
    """Remove every row of every table."""
    async with database.begin() as connection:
        query = (
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version' ORDER BY 1"
        )
        names = (await connection.execute(text(query))).scalars().all()
        await connection.execute(text(f"TRUNCATE {', '.join(sorted(names))} RESTART IDENTITY CASCADE"))


async def deploy(
    database: AsyncEngine, name: str, account: str, capital: Decimal, limits: Mapping[str, object]
) -> None:
    """A deployment whose first attempt runs."""
    row = {
        "name": name,
        "account": account,
        "owner": "ann",
        "spec": {"notebook": "sma.ipynb", "limits": dict(limits)},
        "capital": capital,
        "quote": "USDT",
        "desired": "running",
        "fence": 1,
        "created_at": 0,
        "updated_at": 0,
    }
    async with database.begin() as connection:
        await connection.execute(insert(deployments).values(row))


async def resting(database: AsyncEngine, deployment: str) -> list[str]:
    """The orders by hand of a deployment that have not ended."""
    query = """
        SELECT client_order_id FROM orders WHERE deployment = :deployment AND bar IS NULL
        AND state NOT IN ('filled', 'cancelled', 'rejected', 'rejected_local', 'not_placed', 'expired') ORDER BY 1
        """
    async with database.connect() as connection:
        return list((await connection.execute(text(query), {"deployment": deployment})).scalars())


async def unrest(database: AsyncEngine) -> list[str]:
    """What has not come to rest, in words; empty when all has."""
    found = []
    async with database.connect() as connection:
        for what, query in _UNREST.items():
            rows = (await connection.execute(text(query))).scalars().all()
            if rows:
                found.append(f"{what}: {', '.join(map(str, rows[:5]))}")
    return found


async def spans_of_unknown(database: AsyncEngine) -> list[tuple[int, int]]:
    """From when to when orders were UNKNOWN (ms), from the events."""
    query = """
        SELECT data ->> 'client_order_id' AS id, data ->> 'state' AS state, at FROM outbox
        WHERE kind = 'order_changed' ORDER BY seq
        """
    since: dict[str, int] = {}
    spans = []
    async with database.connect() as connection:
        for row in await connection.execute(text(query)):
            if row.state == "unknown":
                since.setdefault(row.id, row.at)
            elif row.id in since:
                spans.append((since.pop(row.id), row.at))
    return spans
