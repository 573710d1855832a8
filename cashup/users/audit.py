"""The audit trail: one row per deed, in the transaction of the deed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from cashup.types import Millis
from cashup.users.tables import audit


async def record(
    connection: AsyncConnection,
    *,
    at: Millis,
    subject: str,
    action: str,
    target: str,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Write that `subject` (a user's name, or `system`) did `action` to `target`. `detail` must hold no secret."""
    await connection.execute(
        insert(audit).values(at=at, subject=subject, action=action, object=target, detail=dict(detail or {}))
    )
