"""All tables together. Each domain defines its own; this is the list of where they are."""

from __future__ import annotations

import importlib
import importlib.util

from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.storage.database import metadata

TABLES = (
    "cashup.users.tables",
    "cashup.orders.tables",
    "cashup.trading.tables",
    "cashup.storage.outbox",
    "cashup.strategies.registry",
)
"""The modules that register tables. By name: storage stands below the domains and may not import them itself."""


def load() -> None:
    """Import every module that registers tables."""
    for name in TABLES:
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name)


async def create(engine: AsyncEngine) -> None:
    """Create every table that is missing, without migrations: for tests and empty databases."""
    load()
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
