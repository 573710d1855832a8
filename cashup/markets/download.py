"""Candles of the past from an exchange into the lake: page by page, so that what came is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cashup.clock import Clock, WallClock, timeframe_millis
from cashup.errors import UsageError
from cashup.markets.health import check_health
from cashup.markets.importer import store_bars
from cashup.markets.kinds import BESIDE
from cashup.markets.lake import Lake
from cashup.markets.public import PublicClient, Row
from cashup.markets.synthetic import GENERATED
from cashup.strategies.bars import FIELDS, to_index, to_times
from cashup.strategies.timeframes import grid_offset
from cashup.types import Millis

Told = Callable[[str, int, int], None]
"""Told after every page: symbol, bars that were looked for so far, bars to look for in all."""

Range = tuple[Millis, Millis]


@dataclass(frozen=True, slots=True)
class Downloaded:
    """How many new bars came for one symbol."""

    symbol: str
    bars: int


class Download:
    """Candles of one exchange and timeframe in [start, end), of closed bars only.

    What the lake has is not asked for again: a download goes on behind the last stored bar, comes before the first when
    `start` lies there, and closes holes of a page or more, which an interrupted one leaves; with `fill_gaps` every
    hole. Made-up bars give way. Bars of one page are stored before the next is asked for.
    """

    def __init__(
        self,
        lake: Lake,
        client: PublicClient,
        exchange: str,
        timeframe: str,
        start: Millis,
        end: Millis | None = None,
        *,
        fill_gaps: bool = False,
        clock: Clock | None = None,
        told: Told | None = None,
    ) -> None:
        self.lake = lake
        self.client = client
        self.exchange = exchange
        self.timeframe = timeframe
        self.step = timeframe_millis(timeframe)
        offset = grid_offset(self.step)
        self.start = -(-(start - offset) // self.step) * self.step + offset
        closed = (clock or WallClock()).now() // self.step * self.step if not offset else self._closed(clock, offset)
        self.end = min(end, closed) if end is not None else closed
        self.fill_gaps = fill_gaps
        self.told = told or (lambda symbol, done, total: None)
        if self.start >= self.end:
            raise UsageError(f"no {timeframe} bar is closed between this start and this end; choose an earlier start")

    async def symbol(self, symbol: str) -> Downloaded:
        """Bring in what is missing of one symbol. Raises UsageError and ExchangeError."""
        await self.client.require(symbol, self.timeframe)
        page = self.client.page(symbol)
        missing = self._missing(symbol, page)
        total = sum((end - start) // self.step for start, end in missing)
        done = came = 0
        for start, end in missing:
            async for rows, position in self._pages(symbol, start, end, page):
                came += self._store(symbol, rows)
                self.told(symbol, done + (position - start) // self.step, total)
            done += (end - start) // self.step
        return Downloaded(symbol, came)

    def _closed(self, clock: Clock | None, offset: Millis) -> Millis:
        return ((clock or WallClock()).now() - offset) // self.step * self.step + offset

    def _missing(self, symbol: str, page: int) -> list[Range]:
        """The ranges [start, end) to ask for."""
        if not self._stored(symbol):
            return [(self.start, self.end)]
        frame = self.lake.read(self.exchange, symbol, self.timeframe)
        times = to_times(frame.index)
        first, last = int(times[0]), int(times[-1])
        holes = [
            (gap.after + self.step, gap.before)
            for gap in check_health(frame, self.timeframe).gaps
            if self.fill_gaps or gap.missing >= page
        ]
        ranges = [(self.start, min(first, self.end)), *holes, (max(last + self.step, self.start), self.end)]
        cut = [(max(start, self.start), min(end, self.end)) for start, end in ranges]
        return [(start, end) for start, end in cut if start < end]

    def _stored(self, symbol: str) -> bool:
        if not self.lake.has(self.exchange, symbol, self.timeframe):
            return False
        return self.lake.describe(self.exchange, symbol, self.timeframe).source != GENERATED

    async def _pages(
        self, symbol: str, start: Millis, end: Millis, page: int
    ) -> AsyncIterator[tuple[list[Row], Millis]]:
        """The closed bars of [start, end) in pages, each with the time up to which was looked."""
        position = start
        while position < end:
            rows = await self._page(symbol, position, end, page)
            if rows:
                position = int(rows[-1][0]) + self.step
            elif position == start:
                position = await self._listing(symbol, start + page * self.step, end, page)
            else:
                position += page * self.step
            yield rows, min(position, end)

    async def _listing(self, symbol: str, empty: Millis, end: Millis, page: int) -> Millis:
        """The start of a page in which the first bar is, or `end`; nothing is there before `empty`.

        Steps double until a page has bars; then the stretch before it is halved. A symbol that is listed for a year is
        found in a dozen requests, where asking page by page takes hundreds.
        """
        length = page * self.step
        jump = 0
        while (full := min(empty + jump, end)) < end and not await self._page(symbol, full, end, page):
            empty, jump = full + length, 2 * jump + length
        while full - empty >= length:
            middle = empty + (full - empty) // 2 // self.step * self.step
            if await self._page(symbol, middle, end, page):
                full = middle
            else:
                empty = middle + length
        return min(empty, full)

    async def _page(self, symbol: str, start: Millis, end: Millis, page: int) -> list[Row]:
        """One page of the bars in [start, end), each once, by time. Venues repeat a border bar, or begin before it."""
        end = min(end, start + page * self.step)
        rows = await self.client.candles(symbol, self.timeframe, start, (end - start) // self.step)
        unique = {int(row[0]): row for row in rows if start <= row[0] < end}
        return [unique[time] for time in sorted(unique)]

    def _store(self, symbol: str, rows: Sequence[Row]) -> int:
        if not rows:
            return 0
        source = f"{self.exchange} candles"
        if self._stored(symbol) and self.lake.describe(self.exchange, symbol, self.timeframe).last < rows[0][0]:
            self.lake.append(self.exchange, self.timeframe, {symbol: rows})
            return len(rows)
        frame = to_frame(rows)
        return store_bars(self.lake, frame, self.exchange, symbol, self.timeframe, source).added


async def together(download: Download, symbols: Sequence[str], jobs: int = 4) -> list[Downloaded]:
    """Several symbols side by side, `jobs` at a time; the first failure ends the others, and what came is kept."""
    free = asyncio.Semaphore(jobs)

    async def one(symbol: str) -> Downloaded:
        async with free:
            return await download.symbol(symbol)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(symbol)) for symbol in symbols]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return [task.result() for task in tasks]


async def fetch_missing(
    lake: Lake, client: PublicClient, exchange: str, symbol: str, timeframe: str
) -> pd.DataFrame | None:
    """The exchange's bars for the holes of a series and for its made-up bars; nothing is stored. None when it has none.

    Raises UsageError and ExchangeError.
    """
    await client.require(symbol, timeframe)
    step, page = timeframe_millis(timeframe), client.page(symbol)
    gaps = check_health(lake.read(exchange, symbol, timeframe), timeframe).gaps
    holes = [(gap.after + step, gap.before) for gap in gaps]
    holes += [(first, last + step) for first, last in lake.filled(exchange, symbol, timeframe)]
    found: dict[int, Row] = {}
    for start, end in holes:
        for begin in range(start, end, page * step):
            until = min(begin + page * step, end)
            rows = await client.candles(symbol, timeframe, begin, (until - begin) // step)
            found |= {int(row[0]): row for row in rows if begin <= row[0] < until}
    return to_frame([found[time] for time in sorted(found)]) if found else None


def to_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """Candles as ccxt gives them as a frame of bars."""
    table = np.array(rows, dtype=np.float64)
    return pd.DataFrame(table[:, 1:], columns=list(FIELDS), index=to_index(table[:, 0].astype(np.int64)))


async def download_funding(lake: Lake, client: PublicClient, exchange: str, symbol: str, start: Millis) -> int:
    """Bring in the funding rates of a perpetual from `start`, or from behind the last stored one; how many came."""
    await client.require(symbol)
    since, came = _resumed(lake, exchange, symbol, "funding", start), 0
    while rows := {int(row[0]): row for row in await client.funding(symbol, since) if row[0] >= since}:
        _add(lake, exchange, symbol, "funding", [rows[time] for time in sorted(rows)])
        since, came = max(rows) + 1, came + len(rows)
    return came


async def download_trades(
    lake: Lake, client: PublicClient, exchange: str, symbol: str, start: Millis, end: Millis
) -> int:
    """Bring in trades of [start, end), or from behind the last stored one; how many came.

    A page may end among the trades of one millisecond, so those of its last one wait for the next page.
    """
    await client.require(symbol)
    since, came = _resumed(lake, exchange, symbol, "trades", start), 0
    while since < end:
        page = {ident: row for ident, row in await client.trades(symbol, since) if row[0] >= since}
        last = int(max((row[0] for row in page.values()), default=since))
        rows = sorted((row for row in page.values() if row[0] < min(last, end)), key=lambda row: row[0])
        if not rows:
            break
        _add(lake, exchange, symbol, "trades", rows)
        since, came = last, came + len(rows)
    return came


def _resumed(lake: Lake, exchange: str, symbol: str, kind: str, start: Millis) -> Millis:
    if not lake.has(exchange, symbol, kind) or lake.describe(exchange, symbol, kind).source == GENERATED:
        return start
    return max(start, lake.describe(exchange, symbol, kind).last + 1)


def _add(lake: Lake, exchange: str, symbol: str, kind: str, rows: Sequence[Row]) -> None:
    """Put rows behind those that are stored; made-up ones give way."""
    table = np.array(rows, dtype=np.float64)
    index = to_index(table[:, 0].astype(np.int64))
    frame = pd.DataFrame(table[:, 1:], columns=list(BESIDE[kind].columns), index=index)
    if lake.has(exchange, symbol, kind) and lake.describe(exchange, symbol, kind).source != GENERATED:
        lake.append_series(kind, exchange, symbol, frame)
    else:
        lake.write_series(kind, exchange, symbol, frame, source=f"{exchange} {kind}")
