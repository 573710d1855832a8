"""Real servers for tests: one embedded PostgreSQL and Redis per session, one database per test."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.settings import Settings, load_settings
from cashup.storage import schema
from cashup.storage.database import create_engine
from cashup.storage.embedded import EmbeddedServers, acquire
from cashup.storage.redis import create_redis

PROOF = "CASHUP_PROOF_"
"""How the names of the tests' own settings begin: how much is proven, and where the results go."""

_numbers = itertools.count(1)


def pytest_configure() -> None:
    """No test may see the settings of the person who runs it."""
    for name in [name for name in os.environ if name.startswith("CASHUP_") and not name.startswith(PROOF)]:
        del os.environ[name]
    os.environ["CASHUP_WARM"] = "0"  # a warm process for each of the tests' homes would fill the memory


@pytest.fixture(autouse=True)
def _own_settings() -> Iterator[None]:
    """What a test before this one read of its environment is none of this one's."""
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


@pytest.fixture(scope="session")
def servers() -> Iterator[EmbeddedServers]:
    """One embedded server pair for the whole session, in a home of its own."""
    home = Path(tempfile.mkdtemp(prefix="cashup-test-"))
    held = acquire(home)
    yield held
    held.release()
    shutil.rmtree(home)


def _url(servers: EmbeddedServers, database: str) -> str:
    return servers.database_url.replace("/postgres?", f"/{database}?", 1)


def _administer(servers: EmbeddedServers, *statements: str) -> None:
    async def run() -> None:
        engine = create_engine(servers.database_url)
        async with engine.connect() as connection:
            outside = await connection.execution_options(isolation_level="AUTOCOMMIT")
            for statement in statements:
                await outside.execute(text(statement))
        await engine.dispose()

    asyncio.run(run())


@pytest.fixture(scope="session")
def template_database(servers: EmbeddedServers) -> str:
    """A database with every table and no row, from which each test's own one is copied."""

    async def fill() -> None:
        engine = create_engine(_url(servers, "template_cashup"))
        await schema.upgrade(engine)
        await engine.dispose()

    _administer(servers, "CREATE DATABASE template_cashup")
    asyncio.run(fill())
    return "template_cashup"


@pytest.fixture
def empty_database_url(servers: EmbeddedServers) -> Iterator[str]:
    """The URL of a database of this test's own without any table."""
    name = f"test_{next(_numbers)}"
    _administer(servers, f"CREATE DATABASE {name}")
    yield _url(servers, name)
    _administer(servers, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(servers: EmbeddedServers, template_database: str) -> Iterator[str]:
    """The URL of a database of this test's own, with every table."""
    with copied_database(servers, template_database) as url:
        yield url


@contextmanager
def copied_database(servers: EmbeddedServers, template: str) -> Iterator[str]:
    """The URL of a new database with every table; it is gone afterwards."""
    name = f"test_{next(_numbers)}"
    _administer(servers, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield _url(servers, name)
    _administer(servers, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on this test's own database, with every table."""
    engine = create_engine(database_url, application="test")
    yield engine
    await engine.dispose()


@pytest.fixture
def redis_url(servers: EmbeddedServers) -> str:
    """The URL of an empty Redis."""

    async def flush() -> None:
        client = create_redis(servers.redis_url)
        await client.flushall()
        await client.aclose()

    asyncio.run(flush())
    return servers.redis_url


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty Redis."""
    client = create_redis(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
def settings(tmp_path: Path, database_url: str, redis_url: str) -> Settings:
    """Settings with an empty home and this test's own database and Redis."""
    return Settings(home=tmp_path / "home", database_url=database_url, redis_url=redis_url)  # type: ignore[arg-type]
