"""The inbox: a venue's raw frames are committed before anything acts on them, each one once.

Only the holder of the account's lease stores: a frame that somebody else had stored would be taken for known by the
holder, and nobody would act on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.orders.journal import lease_guard
from cashup.orders.tables import inbox
from cashup.storage.database import dump_json
from cashup.storage.lines import Lines
from cashup.storage.statement import Prepared, prepare, rows_of
from cashup.types import Frame, Millis


class Inbox:
    """The frames of one account, under one lease."""

    def __init__(self, engine: AsyncEngine, lines: Lines, account: str, fence: int) -> None:
        self._engine = engine
        self._lines = lines
        self._account = account
        self._fence = fence

    async def store(self, frames: Sequence[tuple[Frame, bool]], now: Millis) -> dict[tuple[str, str], int]:
        """Commit frames, each with whether nothing needs to act on it; the ids of the new ones by (channel, key).

        Stores nothing when the lease is lost.
        """
        rows = [
            {
                "account": self._account,
                "channel": frame.channel,
                "dedupe_key": frame.dedupe_key,
                "body": frame.body,
                "received_at": now,
                "applied": done,
            }
            for frame, done in frames
        ]
        values = {"rows": dump_json(rows), "account": self._account, "fence": self._fence}
        found = await self._lines.run(_store(), values)
        return {(row["channel"], row["dedupe_key"]): row["id"] for row in found}

    async def unapplied(self) -> list[tuple[int, Frame]]:
        """What was stored and not acted on before the process ended, in order of receipt."""
        query = select(inbox).where(inbox.c.account == self._account, ~inbox.c.applied).order_by(inbox.c.id)
        async with self._engine.connect() as connection:
            found = await connection.execute(query)
            return [(row.id, Frame(row.channel, row.dedupe_key, row.body)) for row in found]


@cache
def _store() -> Prepared:
    names = ("account", "channel", "dedupe_key", "body", "received_at", "applied")
    rows, guard = rows_of(inbox, names, "rows"), lease_guard()
    source = select(*(rows.c[name] for name in names)).where(guard.c.held == 1)
    statement = insert(inbox).from_select(list(names), source)
    return prepare(statement.on_conflict_do_nothing().returning(inbox.c.id, inbox.c.channel, inbox.c.dedupe_key))
