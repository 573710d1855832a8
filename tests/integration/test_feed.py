import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from decimal import Decimal
from typing import Any

import pytest
from redis.asyncio import Redis

from cashup.clock import VirtualClock
from cashup.errors import ExchangeTransient, UsageError
from cashup.exchanges.base import Connected, Disconnected
from cashup.exchanges.paper import PaperExchange
from cashup.exchanges.paper_venue import PaperVenue
from cashup.markets.feed import Feed
from cashup.markets.live import LiveBar, LiveBars
from cashup.storage.redis import bars_stream
from cashup.types import Candle, Market, Millis, Symbol

HOUR = 3_600_000
ETH, BTC = Symbol("ETH/USDT"), Symbol("BTC/USDT")


def candle(symbol: Symbol, hour: int, price: int, *, closed: bool) -> Candle:
    value = Decimal(price)
    return Candle(symbol, "1h", hour * HOUR, value, value, value, value, Decimal(1), closed)


class Market1h:
    """A paper venue whose hourly bars a test opens and closes, as Gate does: last frame, then the next bar's first."""

    def __init__(self) -> None:
        markets = [Market(ETH, "ETH", "USDT"), Market(BTC, "BTC", "USDT")]
        self.venue = PaperVenue(markets, VirtualClock())

    def open(self, hour: int, symbols: Sequence[Symbol] = (ETH, BTC)) -> None:
        for symbol in symbols:
            self.venue.publish(candle(symbol, hour, 100 + hour, closed=False))

    def close(self, hour: int, symbols: Sequence[Symbol] = (ETH, BTC)) -> None:
        for symbol in symbols:
            self.venue.publish(candle(symbol, hour, 1000 + hour, closed=True))

    def past(self, hours: range, symbols: Sequence[Symbol] = (ETH, BTC)) -> None:
        for hour in hours:
            self.close(hour, symbols)


class Cuttable(PaperExchange):
    """The venue's public side behind a line that a test can cut; what is published meanwhile never arrives."""

    def __init__(self, venue: PaperVenue) -> None:
        super().__init__(venue)
        self.cut = asyncio.Event()
        self.mended = asyncio.Event()

    async def watch_candles(
        self, symbols: Sequence[Symbol], timeframe: str
    ) -> AsyncIterator[Candle | Connected | Disconnected]:
        while True:
            queue, stop = self.venue.watch(symbols, timeframe)
            yield Connected()
            while not self.cut.is_set():
                getting = asyncio.ensure_future(queue.get())
                cutting = asyncio.ensure_future(self.cut.wait())
                await asyncio.wait({getting, cutting}, return_when=asyncio.FIRST_COMPLETED)
                cutting.cancel()
                if getting.done():
                    yield getting.result()
                else:
                    getting.cancel()
            stop()
            yield Disconnected("cut")
            await self.mended.wait()


@pytest.fixture
def market() -> Market1h:
    return Market1h()


@pytest.fixture
async def exchange(market: Market1h) -> Cuttable:
    return Cuttable(market.venue)


@pytest.fixture
async def feed(exchange: Cuttable, redis: Redis) -> AsyncIterator[Feed]:
    async def open_venue(key: str) -> PaperExchange:
        return exchange

    feed = Feed(open_venue, redis)
    yield feed
    await feed.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.005)


async def opened(
    feed: Feed,
    market: Market1h,
    hour: int,
    symbols: Sequence[Symbol] = (ETH, BTC),
    grace: float = 10.0,
    *,
    outer: bool = False,
) -> LiveBars:
    """Live bars of a market whose open bar is `hour`."""
    opening = asyncio.ensure_future(LiveBars.open(feed, "paper", symbols, "1h", grace=grace, outer=outer))
    while not opening.done():
        market.open(hour, symbols)
        await asyncio.sleep(0.01)
    return await opening


def hours(bars: Sequence[LiveBar]) -> list[Millis]:
    return [bar.time // HOUR for bar in bars]


async def take(bars: AsyncIterator[LiveBar], count: int) -> list[LiveBar]:
    async with asyncio.timeout(10):
        return [await anext(bars) for _ in range(count)]


async def published(redis: Redis, count: int) -> list[int]:
    position: Any = "0-0"
    found: list[int] = []
    while len(found) < count:
        entries: Any = await redis.xread({bars_stream("paper", ETH, "1h"): position}, block=10_000)
        for position, fields in entries[0][1]:  # noqa: B007  (the next read goes on from the last one)
            found.append(int(fields[b"time"]) // HOUR)
    return found


async def test_history_and_stream_join_without_gap_or_repetition(feed: Feed, market: Market1h) -> None:
    market.past(range(20))
    bars = await opened(feed, market, 20)
    market.close(20)
    market.open(21)
    history = await bars.history(5)
    following = bars.follow()
    for hour in range(21, 25):
        market.close(hour)
        market.open(hour + 1)
    seen = hours(history) + hours(await take(following, 25 - 1 - history[-1].time // HOUR))
    assert seen == list(range(seen[0], 25))
    assert history[0].candles[ETH].close == 1000 + seen[0]


async def test_the_mark_is_the_next_open_when_a_bar_is_delivered(feed: Feed, market: Market1h) -> None:
    market.past(range(5))
    bars = await opened(feed, market, 5)
    assert feed.mark("paper", ETH) == 105
    assert feed.quoted("paper", ETH)[1] is None  # no bar has closed since it is watched
    assert feed.quoted("paper", Symbol("XRP/USDT")) == (None, None)
    await bars.history(2)
    following = bars.follow()
    delivered = asyncio.ensure_future(anext(following))
    market.close(5)
    market.open(6, [ETH])
    await asyncio.sleep(0.05)
    assert not delivered.done(), "BTC's next bar has not opened: its price is still the old bar's"
    market.open(6, [BTC])
    bar = await delivered
    assert bar.time == 5 * HOUR
    assert bar.candles[BTC].close == 1005
    assert feed.mark("paper", ETH) == feed.mark("paper", BTC) == 106
    age, close = feed.quoted("paper", BTC)
    assert close == 1005
    assert age is not None
    assert 0 <= age < 10_000


async def test_a_bar_after_which_nothing_opens_is_delivered_after_a_grace(feed: Feed, market: Market1h) -> None:
    market.past(range(5))
    bars = await opened(feed, market, 5, grace=0.05)
    await bars.history(2)
    market.close(5)
    assert hours(await take(bars.follow(), 1)) == [5]


async def test_a_bar_that_one_symbol_lacks_is_no_bar(feed: Feed, market: Market1h) -> None:
    market.past(range(5))
    bars = await opened(feed, market, 5)
    await bars.history(2)
    following = bars.follow()
    market.close(5, [ETH])
    market.open(6)
    market.close(6)
    market.open(7)
    assert hours(await take(following, 1)) == [6]


async def test_what_a_cut_line_missed_is_fetched_in_order(
    feed: Feed, market: Market1h, exchange: Cuttable, redis: Redis
) -> None:
    market.past(range(5))
    bars = await opened(feed, market, 5, [ETH])
    await bars.history(2)
    following = bars.follow()
    market.close(5, [ETH])
    market.open(6, [ETH])
    assert hours(await take(following, 1)) == [5]
    exchange.cut.set()
    await until(lambda: not feed.channels()[0].connected)
    for hour in (6, 7, 8):
        market.close(hour, [ETH])
        market.open(hour + 1, [ETH])
    exchange.cut.clear()
    exchange.mended.set()
    await until(lambda: feed.channels()[0].connected)
    market.open(9, [ETH])
    assert hours(await take(following, 3)) == [6, 7, 8]
    assert await published(redis, 4) == [5, 6, 7, 8]


async def test_a_wiped_redis_does_not_concern_the_bars(feed: Feed, market: Market1h, redis: Redis) -> None:
    market.past(range(5))
    bars = await opened(feed, market, 5)
    await bars.history(2)
    following = bars.follow()
    for hour in (5, 6, 7):
        market.close(hour)
        market.open(hour + 1)
        await redis.flushall()
    assert hours(await take(following, 3)) == [5, 6, 7]


async def test_unknown_symbols_and_prices_are_named(feed: Feed) -> None:
    with pytest.raises(UsageError, match="did you mean BTC/USDT"):
        await feed.watch("paper", ["BTCUSDT"], "1h")
    with pytest.raises(UsageError, match="has no market XRP/USDT"):
        await feed.watch("paper", ["XRP/USDT"], "1h")
    with pytest.raises(ExchangeTransient, match="no price"):
        feed.mark("paper", ETH)


async def test_the_history_of_a_universe_has_the_bars_that_any_symbol_has(feed: Feed, market: Market1h) -> None:
    market.past(range(20), [ETH])
    market.past(range(15, 18), [BTC])
    bars = await opened(feed, market, 20, outer=True)
    history = await bars.history(10)
    assert hours(history) == list(range(10, 20))
    assert [bar.time // HOUR for bar in history if BTC in bar.candles] == [15, 16, 17]
    assert all(ETH in bar.candles for bar in history)


async def test_a_universe_goes_on_without_a_symbol_that_was_not_traded(feed: Feed, market: Market1h) -> None:
    market.past(range(5))
    bars = await opened(feed, market, 5, outer=True)
    await bars.history(2)
    following = bars.follow()
    market.close(5, [ETH])
    market.open(6)
    market.close(6)
    market.open(7)
    first, second = await take(following, 2)
    assert (first.time // HOUR, set(first.candles)) == (5, {ETH})
    assert (second.time // HOUR, set(second.candles)) == (6, {ETH, BTC})


async def test_a_universe_waits_for_a_bar_that_closes_a_moment_later(feed: Feed, market: Market1h) -> None:
    market.past(range(5))
    bars = await opened(feed, market, 5, outer=True)
    await bars.history(2)
    delivered = asyncio.ensure_future(anext(bars.follow()))
    market.close(5, [ETH])
    market.open(6, [ETH])
    await asyncio.sleep(0.05)
    assert not delivered.done()
    market.close(5, [BTC])
    market.open(6, [BTC])
    assert set((await delivered).candles) == {ETH, BTC}


async def test_a_universe_asks_the_venue_for_what_the_stream_did_not_bring_in_time(
    feed: Feed, market: Market1h, exchange: Cuttable
) -> None:
    market.past(range(5))
    bars = await opened(feed, market, 5, grace=0.2, outer=True)
    await bars.history(2)
    following = bars.follow()
    delivered = asyncio.ensure_future(anext(following))
    market.close(5, [ETH])
    market.open(6, [ETH])
    market.venue.history[BTC, "1h"] = [*market.venue.history[BTC, "1h"][:-1], candle(BTC, 5, 7, closed=True)]
    first = await delivered
    assert first.candles[BTC].close == 7
    market.close(5, [BTC])
    market.close(6)
    market.open(7)
    assert hours(await take(following, 1)) == [6], "what comes too late does not come twice"
