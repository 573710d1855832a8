"""The simulation's database: the real PostgreSQL, with a clock that the simulation sets and no waiting for disks."""

from __future__ import annotations

import asyncio

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from cashup.storage import schema
from cashup.storage.database import create_engine
from tests.faults.simulation.wire import CLOCK, SEARCH_PATH

SAME_PLANS = """
    DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
            EXECUTE format('ALTER TABLE public.%I SET (autovacuum_enabled = false)', name);
        END LOOP;
    END $$
    """
"""No table is analysed when the real clock says so: another plan gives the same rows in another order."""


def create(server_url: str, name: str = "simulated") -> str:
    """Make the database `name`, anew when it is there, with every table; its URL."""

    async def run() -> None:
        server = create_async_engine(server_url, isolation_level="AUTOCOMMIT")
        async with server.connect() as connection:
            await connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
            await connection.execute(text(f"CREATE DATABASE {name}"))
            await connection.execute(text(f"ALTER DATABASE {name} SET synchronous_commit = off"))
        engine = create_engine(url)
        await schema.upgrade(engine)
        async with engine.begin() as connection:
            for statement in (*CLOCK, SAME_PLANS):
                await connection.execute(text(statement))
            await connection.execute(text(f"ALTER DATABASE {name} SET search_path = {SEARCH_PATH}"))
        await engine.dispose()
        await server.dispose()

    url = server_url.replace("/postgres?", f"/{name}?", 1)
    asyncio.run(run())
    return url
