"""Alerts: what a person must look at, kept until somebody says that they have.

Of one deployment and code at most one alert stands at a time. Raising it again renews its message and counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Identity,
    Index,
    Integer,
    Select,
    Table,
    Text,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cashup.clock import Clock
from cashup.errors import NotFound
from cashup.events import EventKind
from cashup.storage.database import metadata, moment, transaction
from cashup.storage.outbox import emit
from cashup.types import Millis
from cashup.users.audit import record

alerts = Table(
    "alerts",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    moment("at"),
    Column("severity", Text, nullable=False),
    Column("deployment", Text, nullable=False, server_default=""),
    Column("code", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("times", Integer, nullable=False, server_default="1"),
    moment("last_at"),
    moment("acknowledged_at", nullable=True),
    Column("acknowledged_by", Text),
    CheckConstraint("severity IN ('warning', 'critical')", name="severity"),
    Index("uq_alerts_open", "deployment", "code", unique=True, postgresql_where=text("acknowledged_at IS NULL")),
    Index("ix_alerts_at", "at"),
)
"""What was raised: first `at`, last `last_at`, `times` in all. `deployment` is empty when it is about no single one."""

GIVEN_UP = "given_up"
"""The code of the alert that says that a deployment is not started again."""

_MOST = 1_000


class Severity(StrEnum):
    """How soon somebody must look: some time today, or now."""

    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Alert:
    """What shall be raised. `message` is one sentence for people, without any secret."""

    code: str
    message: str
    severity: Severity = Severity.WARNING
    deployment: str = ""


async def raise_alert(connection: AsyncConnection, alert: Alert, at: Millis) -> int:
    """Raise `alert` within the transaction of `connection`; its id. One that stands already is renewed."""
    row = {
        "at": at,
        "last_at": at,
        "severity": alert.severity.value,
        "deployment": alert.deployment,
        "code": alert.code,
        "message": alert.message,
    }
    added = insert(alerts).values(row)
    again = {name: added.excluded[name] for name in ("last_at", "severity", "message")}
    raised = added.on_conflict_do_update(
        index_elements=[alerts.c.deployment, alerts.c.code],
        index_where=alerts.c.acknowledged_at.is_(None),
        set_={**again, "times": alerts.c.times + 1},
    ).returning(*alerts.c, literal_column("xmax = 0").label("new"))
    found = dict((await connection.execute(raised)).mappings().one())
    if found.pop("new"):
        detail = {"severity": found["severity"], "message": alert.message}
        target = alert.deployment or "everything"
        await record(connection, at=at, subject="system", action=f"alert.{alert.code}", target=target, detail=detail)
    await _tell(connection, found, at)
    return int(found["id"])


class Alerts:
    """The alerts of one database. `emitted` is called after each commit with events in it."""

    def __init__(self, database: AsyncEngine, clock: Clock, emitted: Callable[[], None] = lambda: None) -> None:
        self._database = database
        self._clock = clock
        self._emitted = emitted

    async def raise_(self, alert: Alert) -> int:
        """Raise `alert` in a transaction of its own; its id."""
        async with transaction(self._database) as connection:
            ident = await raise_alert(connection, alert, self._clock.now())
        self._emitted()
        return ident

    async def all(self, deployment: str | None = None, *, acknowledged: bool = False) -> list[dict[str, Any]]:
        """What stands, the newest first; with `acknowledged` also the newest of what has been looked at."""
        query: Select[Any] = select(alerts).order_by(alerts.c.last_at.desc(), alerts.c.id.desc()).limit(_MOST)
        if deployment is not None:
            query = query.where(alerts.c.deployment == deployment)
        if not acknowledged:
            query = query.where(alerts.c.acknowledged_at.is_(None))
        async with self._database.connect() as connection:
            return [_row(dict(row)) for row in (await connection.execute(query)).mappings()]

    async def get(self, ident: int) -> dict[str, Any]:
        """One alert; raises NotFound."""
        async with self._database.connect() as connection:
            row = (await connection.execute(select(alerts).where(alerts.c.id == ident))).mappings().first()
        if row is None:
            raise _unknown(ident)
        return _row(dict(row))

    async def acknowledge(self, ident: int, *, by: str) -> dict[str, Any]:
        """Somebody has looked: it stands no more. Again it changes nothing. Raises NotFound."""
        now = self._clock.now()
        async with transaction(self._database) as connection:
            standing = (alerts.c.id == ident) & alerts.c.acknowledged_at.is_(None)
            seen = update(alerts).where(standing).values(acknowledged_at=now, acknowledged_by=by).returning(*alerts.c)
            row = (await connection.execute(seen)).mappings().first()
            if row is not None:
                target = row["deployment"] or "everything"
                detail = {"id": ident, "code": row["code"]}
                await record(connection, at=now, subject=by, action="alert.acknowledge", target=target, detail=detail)
                await _tell(connection, dict(row), now)
        self._emitted()
        return await self.get(ident)


async def _tell(connection: AsyncConnection, row: Mapping[str, Any], at: Millis) -> None:
    stream = f"deployment:{row['deployment']}" if row["deployment"] else "alerts"
    await emit(connection, stream, EventKind.ALERT_CHANGED, _row(row), at)


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name): value for name, value in row.items()}


def _unknown(ident: int) -> NotFound:
    return NotFound(f"there is no alert {ident}; `cashup alerts --all` shows what there was")
