"""Lines: connections kept apart from the pool for the few statements whose speed matters.

A statement run here is its own transaction: one round trip, one commit. asyncpg is used directly, which costs a third
of the way through SQLAlchemy's pool, cursor and result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import asyncpg
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cashup.errors import Conflict, StorageError
from cashup.storage.statement import Prepared


class Taken(Conflict):
    """A row with this key is there already; nothing was written."""

    code = "taken"


class Lines:
    """Runs prepared statements on connections of its own, as many as are needed at the same time."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._idle: list[tuple[AsyncConnection, Any]] = []

    async def run(self, statement: Prepared, values: Mapping[str, Any]) -> Sequence[Any]:
        """Run one statement and commit; its rows, to be read by position or name.

        Raises Taken for a key that exists, StorageError for anything else; the outcome is then unknown.
        """
        line = self._idle.pop() if self._idle else await self._open()
        try:
            rows: Sequence[Any] = await line[1].fetch(statement.sql, *statement.bind(values))
        except asyncpg.UniqueViolationError as error:
            self._idle.append(line)
            raise Taken(str(error)) from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            await self._discard(line)
            raise StorageError(f"the database did not carry out a write: {error}") from error
        except BaseException:  # cancelled: the statement may still run, so the connection is not used again
            line[1].terminate()
            raise
        self._idle.append(line)
        return rows

    async def close(self) -> None:
        """Close every connection that is not in use."""
        while self._idle:
            await self._discard(self._idle.pop())

    async def _open(self) -> tuple[AsyncConnection, Any]:
        connection = await self._engine.connect()
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        driver = (await connection.get_raw_connection()).driver_connection
        await connection.run_sync(lambda sync: sync.detach())
        return connection, driver

    async def _discard(self, line: tuple[AsyncConnection, Any]) -> None:
        line[1].terminate()
        with suppress(SQLAlchemyError):
            await line[0].close()
