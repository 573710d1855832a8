"""The inbox: a venue's raw frames are committed before anything acts on them, each one once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.orders.tables import inbox
from cashup.storage.database import dump_json
from cashup.storage.lines import Lines
from cashup.storage.statement import Prepared, prepare, rows_of
from cashup.types import Frame, Millis


class Inbox:
    """The frames of one account."""

    def __init__(self, engine: AsyncEngine, lines: Lines, account: str) -> None:
        self._engine = engine
        self._lines = lines
        self._account = account

    async def store(self, frames: Sequence[tuple[Frame, bool]], now: Millis) -> dict[tuple[str, str], int]:
        """Commit frames, each with whether nothing needs to act on it; the ids of the new ones by (channel, key)."""
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
        found = await self._lines.run(_store(), {"rows": dump_json(rows)})
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
    rows = rows_of(inbox, names, "rows")
    statement = insert(inbox).from_select(list(names), select(*(rows.c[name] for name in names)))
    return prepare(statement.on_conflict_do_nothing().returning(inbox.c.id, inbox.c.channel, inbox.c.dedupe_key))
