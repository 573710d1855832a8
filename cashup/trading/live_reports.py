"""Reports of live against re-run, as they were made: one row each, the newest is what dashboards show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Identity, Index, Table, Text, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cashup.storage.database import Money, json_column, metadata, moment

Row = dict[str, Any]

live_reports = Table(
    "live_reports",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("deployment", ForeignKey("deployments.name"), nullable=False),
    moment("at"),
    moment("first_bar"),
    moment("last_bar"),
    Column("quote", Text, nullable=False),
    Column("capital", Money, nullable=False),
    Column("total", Money, nullable=False),
    Column("band", Money, nullable=False),
    Column("in_band", Boolean, nullable=False),
    json_column("document"),
    Index("ix_live_reports_deployment_id", "deployment", "id"),
)
"""`total` is live less its re-run in `quote`; within `band` (a fraction) of the `capital` it is `in_band`."""


async def add_report(connection: AsyncConnection, row: Mapping[str, Any]) -> int:
    """Store a report, a row of the table without its id; the id it got."""
    made = await connection.execute(insert(live_reports).values(dict(row)).returning(live_reports.c.id))
    return int(made.scalar_one())


async def list_reports(engine: AsyncEngine, deployment: str, limit: int) -> list[Row]:
    """The newest reports of a deployment, newest first."""
    query = select(live_reports).where(live_reports.c.deployment == deployment)
    async with engine.connect() as connection:
        found = (await connection.execute(query.order_by(live_reports.c.id.desc()).limit(limit))).mappings()
        return [{str(name): value for name, value in row.items()} for row in found]
