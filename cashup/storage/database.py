"""The database: one `metadata` for all tables, one engine per process, one way to run a transaction.

SQLAlchemy Core on asyncpg. Money is NUMERIC and arrives as `Decimal`; times are BIGINT, milliseconds since the epoch.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import asyncpg
import orjson
from sqlalchemy import BigInteger, Column, MetaData, Numeric, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from cashup.errors import StorageError
from cashup.types import Mode

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""Every table of CashUp is registered here."""

Money = Numeric
"""NUMERIC without a scale: exact, and no digit is invented or lost."""

DATABASE_ERRORS: tuple[type[Exception], ...] = (
    DBAPIError,
    PoolTimeout,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
)
"""Whatever may come of a statement, through SQLAlchemy or straight from the driver."""

COMMIT_SECONDS = 15.0
"""How long a commit may take before its connection is thrown away."""

_SESSION = {
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
    "timezone": "UTC",
    "jit": "off",
}

_MUST_BE_ON = ("fsync", "full_page_writes", "synchronous_commit")


def moment(name: str, *, nullable: bool = False, index: bool = False) -> Column[int]:
    """A column that holds a time: milliseconds since the epoch, UTC."""
    return Column(name, BigInteger, nullable=nullable, index=index)


def json_column(name: str, *, nullable: bool = False) -> Column[Any]:
    """A column that holds a JSON document; `Decimal` in it is written as text."""
    return Column(name, JSONB(none_as_null=True), nullable=nullable)


def create_engine(url: str, *, application: str = "cashup", pool_size: int = 10) -> AsyncEngine:
    """An engine for `url` (`postgresql://…`). Connects when first used; close it with `await engine.dispose()`."""
    return create_async_engine(
        normal_url(url),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=10,
        json_serializer=dump_json,
        json_deserializer=orjson.loads,
        connect_args={"timeout": 10, "server_settings": {"application_name": application, **_SESSION}},
    )


def normal_url(url: str) -> str:
    """`url` with the driver that CashUp uses; raises StorageError when it is not PostgreSQL."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise StorageError("CASHUP_DATABASE_URL must be a PostgreSQL address such as postgresql://user@host/cashup")
    return f"postgresql+asyncpg://{rest}"


def dump_json(document: Any) -> str:
    """`document` as JSON text; `Decimal` becomes text, anything else unknown is refused."""
    return orjson.dumps(document, default=_plain).decode()


def _plain(value: Any) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    raise TypeError(f"{type(value).__name__} cannot be stored as JSON")


@asynccontextmanager
async def transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection in a transaction that commits at the end, and rolls back when the block raises.

    A cancelled task never hands a connection with an open transaction back to the pool: cancelled inside the block,
    the connection is thrown away (the server rolls back); cancelled during the commit, the commit is first carried
    through. A commit that takes longer than `COMMIT_SECONDS` raises TimeoutError, and whether it happened is then
    unknown: read by key on a new connection before anything else.
    """
    connection = await engine.connect()
    try:
        await connection.begin()
        yield connection
    except asyncio.CancelledError:
        await _carry_through(_discard(connection))
        raise
    except BaseException:
        await _carry_through(connection.close())
        raise
    await _carry_through(_commit(connection))


async def _commit(connection: AsyncConnection) -> None:
    try:
        async with asyncio.timeout(COMMIT_SECONDS):
            await connection.commit()
    except BaseException:
        await _discard(connection)
        raise
    await connection.close()


async def _discard(connection: AsyncConnection) -> None:
    try:
        await connection.invalidate()
    finally:
        await connection.close()


async def _carry_through(work: Any) -> None:
    """Await `work` to its end even when this task is cancelled meanwhile; the cancellation follows afterwards."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if task.cancelled():
                raise
            cancelled = error
    if cancelled is not None:
        if (failure := task.exception()) is not None:
            raise cancelled from failure
        raise cancelled
    task.result()


def is_about_a_value(error: BaseException | None) -> bool:
    """True when the database or its driver refused a value: NUL in a text, a number beyond 64 bits."""
    while error is not None:
        if isinstance(error, (asyncpg.DataError, asyncpg.CharacterNotInRepertoireError, ValueError)):
            return True
        error = error.__cause__
    return False


async def check_safety(connection: AsyncConnection, mode: Mode) -> None:
    """Refuse a database that may forget a commit, for every mode with an account behind it.

    Raises StorageError naming the setting. Backtest and replay may run on anything.
    """
    if mode in (Mode.BACKTEST, Mode.REPLAY):
        return
    for name, value in (await durability(connection)).items():
        if value == "off":
            raise StorageError(
                f"the database has {name} off, so it may forget orders after a crash; set {name} = on in "
                f"postgresql.conf (or for the role) before trading in mode {mode}"
            )


async def durability(connection: AsyncConnection) -> dict[str, str]:
    """The three settings on which a commit's survival depends, as they hold for this session."""
    found = await connection.execute(
        text("SELECT name, setting FROM pg_settings WHERE name = ANY(:names)"), {"names": list(_MUST_BE_ON)}
    )
    return {row.name: row.setting for row in found}
