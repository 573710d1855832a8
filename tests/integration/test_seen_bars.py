"""The bars that live saw: the first word on a bar stays, whoever hands it out again, and a database that was away."""

from __future__ import annotations

from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.markets import seen_bars
from cashup.markets.seen_bars import SeenBars, read_seen
from cashup.types import Candle, Symbol

HOUR = 3_600_000
BTC = Symbol("BTC/USDT")


def candle(number: int, close: int = 100) -> Candle:
    price = Decimal(close)
    return Candle(BTC, "1h", number * HOUR, price, price, price, price, Decimal("0.5"), True)


async def closes(database: AsyncEngine) -> dict[int, float]:
    """The close of each bar on record, by number."""
    rows = await read_seen(database, "gate", BTC, "1h", 0, 1_000_000 * HOUR, 1_000_000)
    return {time // HOUR: close for time, _, _, _, close, _ in rows}


async def test_the_first_word_on_a_bar_stays(database: AsyncEngine) -> None:
    seen = SeenBars(database)
    seen.add("gate", [candle(number) for number in range(10, 13)])
    seen.add("gate", [candle(13)])
    seen.add("gate", [candle(number, 7) for number in range(8, 15)])  # a longer history, revised since
    await seen.flush()
    again = SeenBars(database)  # another start of the gateway
    again.add("gate", [candle(number, 8) for number in range(7, 16)])
    await again.flush()
    assert await closes(database) == {7: 8, 8: 7, 9: 7, **dict.fromkeys(range(10, 14), 100), 14: 7, 15: 8}


async def test_a_gap_that_is_filled_later_is_on_record(database: AsyncEngine) -> None:
    seen = SeenBars(database)
    seen.add("gate", [candle(1), candle(2)])
    seen.add("gate", [candle(5)])
    seen.add("gate", [candle(number, 7) for number in range(1, 7)])
    seen.add("gate", [])
    await seen.flush()
    assert await closes(database) == {1: 100, 2: 100, 3: 7, 4: 7, 5: 100, 6: 7}


async def test_what_could_not_be_written_is_written_later(database: AsyncEngine) -> None:
    seen = SeenBars(database)
    seen.add("gate", [candle(1), candle(2)])
    async with database.begin() as connection:
        await connection.execute(text("ALTER TABLE seen_bars RENAME TO away"))
    with pytest.raises(DBAPIError):
        await seen.flush()
    seen.add("gate", [candle(3)])
    async with database.begin() as connection:
        await connection.execute(text("ALTER TABLE away RENAME TO seen_bars"))
    await seen.flush()
    assert list(await closes(database)) == [1, 2, 3]


async def test_only_the_newest_bars_are_kept(database: AsyncEngine) -> None:
    seen = SeenBars(database)
    newest = seen_bars.KEPT + 100
    seen.add("gate", [candle(number) for number in range(50)])
    seen.add("gate", [candle(number) for number in range(newest - 5_000, newest)])
    await seen.flush()
    kept = await closes(database)
    assert min(kept) >= newest - seen_bars.KEPT - 1_000
    assert max(kept) == newest - 1
