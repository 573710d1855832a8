"""The database for one command: the configured one, or the embedded one for as long as the command takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib import import_module
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

from cashup.errors import CashUpError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

T = TypeVar("T")


def database_ahead() -> None:
    """Start the embedded servers beside longer work, at whose end `with_database` is called; held until the exit.

    When they cannot be had, it is `with_database` that says so.
    """
    from cashup.settings import load_settings

    settings = load_settings()

    def start() -> None:
        from cashup.storage.servers import open_servers

        with suppress(CashUpError):
            open_servers(settings)
        for name in ("alembic.migration", "alembic.script", "sqlalchemy.dialects.postgresql.asyncpg"):
            import_module(name)  # a third of a second that with_database would spend

    Thread(target=start, name="database-ahead").start()


def with_database(work: Callable[[AsyncEngine], Awaitable[T]]) -> T:
    """Do `work` on the configured database, or the embedded one; brings its schema up first."""
    import asyncio

    from cashup.settings import load_settings
    from cashup.storage import schema
    from cashup.storage.database import create_engine
    from cashup.storage.servers import open_servers

    settings = load_settings()
    servers = open_servers(settings)

    async def connected() -> T:
        database = create_engine(servers.database_url, application="cashup-cli", pool_size=1)
        try:
            await schema.prepare(database, ours=servers.embedded is not None and settings.database_url is None)
            return await work(database)
        finally:
            await database.dispose()

    try:
        return asyncio.run(connected())
    finally:
        servers.close()
