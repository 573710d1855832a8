"""The live feed: closed bars in order, each once, and the newest price of every symbol that somebody watches.

There is one channel per (venue, symbol, timeframe) and process. A channel that was cut off fetches what it missed
before it goes on, so its closed candles have no gap. They are also published on the Redis streams
`cashup:bars:<venue>:<symbol>:<timeframe>` for other processes; losing those loses nothing here.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from cashup.clock import timeframe_millis
from cashup.errors import ExchangeTransient, Unavailable, UsageError
from cashup.exchanges.base import Connected, Disconnected, Exchange
from cashup.monitoring.tasks import begin, end
from cashup.storage.redis import BARS_MAXLEN, bars_stream
from cashup.strategies.symbols import check_symbol, did_you_mean
from cashup.types import Candle, Millis, Symbol

log = structlog.get_logger()

KEPT = 2_000
"""Closed candles that a channel remembers."""

_FIRST_FRAME_SECONDS = 20.0
_SILENCE_SECONDS = 60.0
"""Venues repeat the open candle every few seconds; a stream that is silent for so long is dead and opened anew."""
_PUBLISH_SECONDS = 0.25
_STALE_TRIES = 5
_STALE_SECONDS = 0.3
_RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)

Item = Candle | Connected | Disconnected
OpenVenue = Callable[[str], Awaitable[Exchange]]
Keep = Callable[[str, Sequence[Candle]], None]
"""Takes closed bars of a venue, one symbol and timeframe at a time, without waiting."""


class Channel:
    """The candles of one symbol and timeframe. `newest` is the newest frame, open or closed.

    `caught_up` is the newest bar that was closed by an outage of several: those before it came late.
    """

    def __init__(self, venue: str, symbol: Symbol, timeframe: str, keep: Keep = lambda venue, candles: None) -> None:
        self._keep = keep
        self.venue = venue
        self.symbol = symbol
        self.timeframe = timeframe
        self.duration = timeframe_millis(timeframe)
        self.newest: Candle | None = None
        self.newest_at = 0.0
        self.closed: deque[Candle] = deque(maxlen=KEPT)
        self.connected = False
        self.failure: Exception | None = None
        self.started: Millis | None = None
        self.caught_up: Millis = 0
        self.listeners: set[asyncio.Event] = set()

    @property
    def last_closed(self) -> Millis | None:
        """The open time of the newest closed bar that was handed out, or that was closed before the channel began."""
        if self.closed:
            return self.closed[-1].time
        return None if self.started is None else self.started - self.duration

    def keep(self, candles: Sequence[Candle]) -> None:
        """Put closed candles on record as they are now: somebody is about to decide upon them. It does not wait."""
        self._keep(self.venue, candles)

    def wake(self) -> None:
        """Tell whoever waits for this channel that it changed."""
        for listener in self.listeners:
            listener.set()

    def closed_after(self, moment: Millis) -> list[Candle]:
        """Closed candles with open time above `moment`, oldest first; Unavailable when some were already forgotten."""
        if len(self.closed) == KEPT and self.closed[0].time > moment + self.duration:
            raise Unavailable(f"more than {KEPT} bars of {self.symbol} were not taken; subscribe again")
        found: list[Candle] = []
        for candle in reversed(self.closed):
            if candle.time <= moment:
                break
            found.append(candle)
        return found[::-1]


class Feed:
    """All channels of this process. `open_venue` gives the public side of a venue by its key.

    `keep` gets every bar that is handed out, at once.
    """

    def __init__(self, open_venue: OpenVenue, redis: Redis, keep: Keep = lambda venue, candles: None) -> None:
        self._open_venue = open_venue
        self._keep = keep
        self._redis = redis
        self._channels: dict[tuple[str, Symbol, str], Channel] = {}
        self._marks: dict[tuple[str, Symbol], Decimal] = {}
        self._marked_at: dict[tuple[str, Symbol], float] = {}
        self._last_closes: dict[tuple[str, Symbol], tuple[Millis, Decimal]] = {}
        self._tasks: dict[Channel, asyncio.Task[None]] = {}
        self._closed: asyncio.Queue[tuple[Channel, Candle]] = asyncio.Queue()
        self._publisher: asyncio.Task[None] | None = None

    def mark(self, venue: str, symbol: Symbol) -> Decimal:
        """The newest price: the close of the newest candle frame, so right after a close the open of the next bar.

        Raises ExchangeTransient when nothing has arrived of `symbol` yet.
        """
        try:
            return self._marks[venue, symbol]
        except KeyError:
            raise ExchangeTransient(f"there is no price of {symbol} on {venue} yet; watch it first") from None

    def quoted(self, venue: str, symbol: Symbol) -> tuple[Millis | None, Decimal | None]:
        """How many milliseconds ago the newest price arrived, and the close of the last closed bar."""
        at, closed = self._marked_at.get((venue, symbol)), self._last_closes.get((venue, symbol))
        age = None if at is None else round((time.monotonic() - at) * 1000)
        return age, None if closed is None else closed[1]

    def channels(self) -> Sequence[Channel]:
        """Every channel, for health and dashboards."""
        return list(self._channels.values())

    async def exchange(self, venue: str) -> Exchange:
        """The public side of `venue`."""
        return await self._open_venue(venue)

    async def watch(self, venue: str, symbols: Sequence[str], timeframe: str) -> list[Channel]:
        """The channels of `symbols`, each with a first frame; they stay open until `close`.

        Raises UsageError for a symbol that the venue does not have, Unavailable when the venue stays silent.
        """
        timeframe_millis(timeframe)
        markets = await (await self._open_venue(venue)).markets()
        for symbol in symbols:
            if check_symbol(symbol) not in markets:
                raise UsageError(f"{venue} has no market {symbol}; {did_you_mean(symbol, markets)}", code="symbol")
        channels = [self._channel(venue, Symbol(symbol), timeframe) for symbol in symbols]
        for channel in channels:
            await _first_frame(channel)
        return channels

    async def close(self) -> None:
        """End every channel."""
        await end(*self._tasks.values(), *([self._publisher] if self._publisher else ()))
        self._tasks.clear()
        self._channels.clear()

    def _channel(self, venue: str, symbol: Symbol, timeframe: str) -> Channel:
        channel = self._channels.get((venue, symbol, timeframe))
        if channel is None or self._tasks[channel].done():
            channel = Channel(venue, symbol, timeframe, self._keep)
            self._channels[venue, symbol, timeframe] = channel
            self._tasks[channel] = begin(f"feed {venue} {symbol} {timeframe}", self._run(channel))
        return channel

    async def _run(self, channel: Channel) -> None:
        """Follow the venue until cancelled, or until it refuses; a broken stream is opened again."""
        attempt = 0
        while True:
            try:
                await self._follow(channel)
            except ExchangeTransient as error:
                log.warning("feed interrupted", venue=channel.venue, symbol=channel.symbol, error=str(error))
            except Exception as error:  # the task's edge: whoever waits for the channel gets it
                log.exception("feed ended", venue=channel.venue, symbol=channel.symbol)
                channel.failure = error
                channel.wake()
                return
            channel.connected = False
            await asyncio.sleep(_RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)])
            attempt += 1

    async def _follow(self, channel: Channel) -> None:
        exchange = await self._open_venue(channel.venue)
        stream = exchange.watch_candles([channel.symbol], channel.timeframe)
        try:
            while True:
                item = await _next_item(stream)
                if isinstance(item, Candle):
                    await self._take(exchange, channel, item)
                elif isinstance(item, Disconnected):
                    channel.connected = False
                    log.warning("feed disconnected", venue=channel.venue, symbol=channel.symbol, error=item.message)
                elif isinstance(item, Connected):
                    channel.connected = True
        finally:
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()

    async def _take(self, exchange: Exchange, channel: Channel, candle: Candle) -> None:
        if channel.newest is not None and candle.time < channel.newest.time:
            return
        if channel.started is None:
            channel.started = candle.time
        last = channel.last_closed
        if last is not None and candle.time > last + channel.duration:
            await self._backfill(exchange, channel, last, candle.time)
        channel.newest = candle
        channel.newest_at = time.monotonic()
        self._marks[channel.venue, channel.symbol] = candle.close
        self._marked_at[channel.venue, channel.symbol] = channel.newest_at
        if candle.closed and candle.time > (channel.last_closed or 0):
            self._close_bar(channel, candle)
        channel.wake()

    async def _backfill(self, exchange: Exchange, channel: Channel, last: Millis, until: Millis) -> None:
        """Hand out the bars between `last` and `until` that the stream did not bring; some venues skip empty bars."""
        missed: dict[Millis, Candle] = {}
        since = last + channel.duration
        while since < until:
            candles = await exchange.candles(channel.symbol, channel.timeframe, since)
            missed |= {candle.time: candle for candle in candles if candle.closed and last < candle.time < until}
            if not candles or candles[-1].time < since:
                break
            since = candles[-1].time + channel.duration
        if len(missed) > 1:
            channel.caught_up = max(missed)
            log.warning("bars came late", venue=channel.venue, symbol=channel.symbol, bars=len(missed))
        for moment in sorted(missed):
            self._close_bar(channel, missed[moment])

    def _close_bar(self, channel: Channel, candle: Candle) -> None:
        channel.closed.append(candle)
        channel.keep([candle])
        name, ends = (channel.venue, channel.symbol), candle.time + channel.duration
        if ends >= self._last_closes.get(name, (0, None))[0]:  # a symbol may be watched in several timeframes
            self._last_closes[name] = (ends, candle.close)
        self._closed.put_nowait((channel, candle))
        if self._publisher is None:
            self._publisher = begin("feed publisher", self._publish())

    async def _publish(self) -> None:
        """Write closed bars to Redis, in order; several at a time, because nobody in this process waits for it."""
        while True:
            bars = [await self._closed.get()]
            await asyncio.sleep(_PUBLISH_SECONDS)
            while not self._closed.empty():
                bars.append(self._closed.get_nowait())
            try:
                async with self._redis.pipeline(transaction=False) as pipe:
                    for channel, candle in bars:
                        name = bars_stream(channel.venue, channel.symbol, channel.timeframe)
                        pipe.xadd(name, _fields(candle), maxlen=BARS_MAXLEN, approximate=True)
                    await pipe.execute()
            except (RedisError, OSError) as error:
                log.warning("bars not published", count=len(bars), error=str(error))


async def fetch_closed(
    exchange: Exchange, channel: Channel, since: Millis, until: Millis, *, expected: Millis | None = None
) -> dict[Millis, Candle]:
    """The closed bars of a channel's market that open in [since, until], by REST, oldest first.

    Asked again for a while as long as the bar at `expected` is not served yet; where nothing was traded there is none.
    """
    for _ in range(_STALE_TRIES):
        found = await _page_through(exchange, channel, max(since, 0), until)
        if expected is None or expected in found:
            break
        await asyncio.sleep(_STALE_SECONDS)
    return found


async def _page_through(exchange: Exchange, channel: Channel, since: Millis, until: Millis) -> dict[Millis, Candle]:
    found: dict[Millis, Candle] = {}
    while since <= until:
        candles = await exchange.candles(channel.symbol, channel.timeframe, since)
        found |= {candle.time: candle for candle in candles if candle.closed and candle.time <= until}
        newest = max((candle.time for candle in candles), default=None)
        if newest is None or newest < since:
            break
        since = newest + channel.duration
    return found


def _fields(candle: Candle) -> dict[Any, Any]:
    prices = {"open": candle.open, "high": candle.high, "low": candle.low, "close": candle.close}
    return {"time": candle.time} | {name: str(value) for name, value in (prices | {"volume": candle.volume}).items()}


async def _next_item(stream: AsyncIterator[Item]) -> Item:
    try:
        async with asyncio.timeout(_SILENCE_SECONDS):
            return await anext(stream)
    except StopAsyncIteration:
        raise ExchangeTransient("the stream of candles ended") from None
    except TimeoutError:
        raise ExchangeTransient(f"no frame for {_SILENCE_SECONDS:.0f} s") from None


async def _first_frame(channel: Channel) -> None:
    changed = asyncio.Event()
    channel.listeners.add(changed)
    try:
        async with asyncio.timeout(_FIRST_FRAME_SECONDS):
            while channel.newest is None:
                if channel.failure is not None:
                    raise channel.failure
                await changed.wait()
                changed.clear()
    except TimeoutError:
        raise Unavailable(
            f"{channel.venue} sends no candles of {channel.symbol} {channel.timeframe}; is the venue up?"
        ) from None
    finally:
        channel.listeners.discard(changed)
