"""The schema: all tables together, and the migrations that lead to them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cashup.errors import StorageError

if TYPE_CHECKING:
    from alembic.config import Config

TABLES = (
    "cashup.users.tables",
    "cashup.orders.tables",
    "cashup.trading.tables",
    "cashup.trading.live_reports",
    "cashup.markets.seen_bars",
    "cashup.paper.tables",
    "cashup.notifications.alerts",
    "cashup.storage.outbox",
    "cashup.strategies.registry",
)
"""The modules that register tables. By name: storage stands below the domains and may not import them itself."""

_MIGRATION_LOCK = 0x63617370


def load() -> None:
    """Import every module that registers tables."""
    for name in TABLES:
        importlib.import_module(name)


async def upgrade(engine: AsyncEngine) -> str | None:
    """Bring the database to the schema of this version; two processes at once do it once. The version it is at."""
    async with engine.connect() as connection:
        await connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _MIGRATION_LOCK})
        await connection.commit()
        try:
            await connection.run_sync(_upgrade)
            await connection.commit()
            return await current(connection)
        finally:
            await connection.rollback()
            await connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _MIGRATION_LOCK})
            await connection.commit()


async def prepare(engine: AsyncEngine, *, ours: bool) -> None:
    """Make sure that the schema fits: a database of our own (embedded) is upgraded, any other one only checked.

    Raises StorageError when somebody has to run `cashup db upgrade`.
    """
    async with engine.connect() as connection:
        fits = await current(connection) == head()
    if not fits and ours:
        await upgrade(engine)
    elif not fits:
        async with engine.connect() as connection:
            await check_head(connection)


async def check_head(connection: AsyncConnection) -> None:
    """Raises StorageError when the database's schema is not the one of this version."""
    found, wanted = await current(connection), head()
    if found != wanted:
        raise StorageError(
            f"the database's schema is at {found or 'nothing'} and this version needs {wanted}; run `cashup db upgrade`"
        )


async def current(connection: AsyncConnection) -> str | None:
    """The version that the database is at, None when it is empty."""
    from alembic.migration import MigrationContext

    def read(sync: Connection) -> str | None:
        return MigrationContext.configure(sync).get_current_revision()

    return await connection.run_sync(read)


def head() -> str:
    """The version that this code needs; raises StorageError when the installation lacks its migrations."""
    from alembic.script import ScriptDirectory

    found = ScriptDirectory.from_config(config()).get_current_head()
    if found is None:
        raise StorageError("this installation has no migrations of the database; install CashUp again")
    return found


def config(connection: Connection | None = None) -> Config:
    """Alembic's configuration, without a file."""
    from alembic.config import Config

    made = Config()
    made.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    made.set_main_option("path_separator", "os")
    made.attributes["connection"] = connection
    return made


async def write_revision(engine: AsyncEngine, message: str) -> None:
    """Write a migration file that leads from the schema of `engine`'s database (at head) to the tables in the code."""
    from alembic import command

    def write(connection: Connection) -> None:
        command.revision(config(connection), message, autogenerate=True, rev_id=f"{_versions() + 1:04d}")

    async with engine.connect() as connection:
        await connection.run_sync(write)


def _versions() -> int:
    return len(list((Path(__file__).with_name("migrations") / "versions").glob("[0-9]*.py")))


def _upgrade(connection: Connection) -> None:
    from alembic import command

    command.upgrade(config(connection), "head")
