"""The bars that live trading saw, kept as they were when they were decided upon: venues revise theirs afterwards.

Whoever hands bars out calls `add`, which only appends to a list; a task of its own writes them a second later, so no
decision ever waits for the database. What cannot be written is tried again; bars that a crash of the gateway took along
are not on record, and a report says how many those are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

import structlog
from sqlalchemy import BigInteger, Column, Double, Table, Text, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import timeframe_millis
from cashup.storage.database import DATABASE_ERRORS, metadata, transaction
from cashup.types import Candle, Millis

log = structlog.get_logger()

KEPT = 100_000
"""So many of the newest bars of a symbol and timeframe stay: of 1-minute bars ten weeks, 14 MB."""

_FLUSH_SECONDS = 1.0
_BATCH = 1_000
_MOST_WAITING = 200_000
"""Bars that wait while the database is away; beyond these the oldest are given up."""
_PRUNE_EVERY = 5_000
_AWAY: tuple[type[Exception], ...] = (*DATABASE_ERRORS, OSError, TimeoutError)

seen_bars = Table(
    "seen_bars",
    metadata,
    Column("venue", Text, primary_key=True),
    Column("symbol", Text, primary_key=True),
    Column("timeframe", Text, primary_key=True),
    Column("time", BigInteger, primary_key=True),
    *(Column(name, Double, nullable=False) for name in ("open", "high", "low", "close", "volume")),
)
"""One closed bar per row as the gateway first had it, labelled by its open time; never updated."""

_INSERT = text(
    "INSERT INTO seen_bars SELECT * FROM unnest(CAST(:venue AS text[]), CAST(:symbol AS text[]), "
    "CAST(:timeframe AS text[]), CAST(:time AS bigint[]), CAST(:open AS float8[]), CAST(:high AS float8[]), "
    "CAST(:low AS float8[]), CAST(:close AS float8[]), CAST(:volume AS float8[])) ON CONFLICT DO NOTHING"
)
_PRUNE = text(
    "DELETE FROM seen_bars WHERE venue = :venue AND symbol = :symbol AND timeframe = :timeframe AND time < :before"
)

Name = tuple[str, str, str]
"""Venue, symbol, timeframe."""


class SeenBars:
    """Takes bars from the feed and writes them behind its back. `run` it as a task."""

    def __init__(self, database: AsyncEngine) -> None:
        self._database = database
        self._waiting: deque[tuple[str, Candle]] = deque(maxlen=_MOST_WAITING)
        self._known: dict[Name, tuple[Millis, Millis]] = {}
        self._since_pruned: dict[Name, int] = {}

    def add(self, venue: str, candles: Sequence[Candle]) -> None:
        """Keep closed bars of one symbol and timeframe, oldest first, as they are now; known ones are passed over."""
        if not candles:
            return
        name = (venue, str(candles[0].symbol), candles[0].timeframe)
        first, last = self._known.get(name, (0, -1))
        self._waiting.extend((venue, candle) for candle in candles if not first <= candle.time <= last)
        length, oldest, newest = timeframe_millis(name[2]), candles[0].time, candles[-1].time
        apart = oldest > last + length or newest < first - length  # what lies between was never taken
        self._known[name] = (oldest, newest) if apart else (min(first, oldest), max(last, newest))

    async def run(self) -> None:
        """Write what waits, until cancelled; then what still waits, once."""
        try:
            while True:
                await asyncio.sleep(_FLUSH_SECONDS)
                await self._try_to_flush()
        finally:
            await self._try_to_flush()

    async def _try_to_flush(self) -> None:
        try:
            await self.flush()
        except _AWAY as error:
            log.warning("seen bars not written yet", count=len(self._waiting), error=type(error).__name__)

    async def flush(self) -> None:
        """Write everything that waits."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            try:
                await self._write(batch)
            except BaseException:
                self._waiting.extendleft(reversed(batch))
                raise

    async def _write(self, batch: Sequence[tuple[str, Candle]]) -> None:
        async with transaction(self._database) as connection:
            await connection.execute(_INSERT, _columns(batch))
            for (venue, symbol, timeframe), newest in self._to_prune(batch):
                before = newest - KEPT * timeframe_millis(timeframe)
                where = {"venue": venue, "symbol": symbol, "timeframe": timeframe, "before": before}
                await connection.execute(_PRUNE, where)

    def _to_prune(self, batch: Sequence[tuple[str, Candle]]) -> list[tuple[Name, Millis]]:
        """Where so many bars have come that old ones may go, with the newest bar."""
        due = []
        for venue, candle in batch:
            name = (venue, str(candle.symbol), candle.timeframe)
            self._since_pruned[name] = self._since_pruned.get(name, 0) + 1
            if self._since_pruned[name] >= _PRUNE_EVERY:
                self._since_pruned[name] = 0
                due.append((name, self._known[name][1]))
        return due


async def read_seen(
    database: AsyncEngine, venue: str, symbol: str, timeframe: str, since: Millis, until: Millis, limit: int
) -> list[list[Any]]:
    """The bars of record that opened in [since, until), oldest first: [time, open, high, low, close, volume]."""
    bar = seen_bars.c
    query = (
        select(bar.time, bar.open, bar.high, bar.low, bar.close, bar.volume)
        .where(bar.venue == venue, bar.symbol == symbol, bar.timeframe == timeframe)
        .where(bar.time >= since, bar.time < until)
        .order_by(bar.time)
        .limit(limit)
    )
    async with database.connect() as connection:
        return [list(row) for row in await connection.execute(query)]


def _columns(batch: Sequence[tuple[str, Candle]]) -> dict[str, list[Any]]:
    candles = [candle for _, candle in batch]
    return {
        "venue": [venue for venue, _ in batch],
        "symbol": [str(candle.symbol) for candle in candles],
        "timeframe": [candle.timeframe for candle in candles],
        "time": [candle.time for candle in candles],
        **{
            name: [float(getattr(candle, name)) for candle in candles]
            for name in ("open", "high", "low", "close", "volume")
        },
    }
