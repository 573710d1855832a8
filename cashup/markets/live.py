"""Live bars of several symbols together: history first, then every closed bar, joined without a gap or a repetition.

The history is the lake's, as far as it is needed and agrees with the venue, then the venue's, then the stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from cashup.exchanges.base import Exchange
from cashup.markets.feed import Channel, Feed, fetch_closed
from cashup.markets.past import Past, disagreement
from cashup.types import Candle, Millis, Symbol

log = structlog.get_logger()

PAGE = 1_000
"""Bars that a venue gives at once: for as many, the lake would save nothing."""
OVERLAP = 5
"""Bars that lake and venue must both have, and the same, before the lake is believed."""

GRACE_SECONDS = 2.0
"""How long a closed bar waits for the next one to open: its open is the price at which the decision is executed."""


@dataclass(frozen=True, slots=True)
class LiveBar:
    """One closed bar of every symbol that has one. `time` is its open time.

    `late`: it was handed out after an outage of the stream, and a newer one had closed by then.
    """

    time: Millis
    candles: Mapping[Symbol, Candle]
    late: bool = False


class LiveBars:
    """The closed bars of `symbols` on one venue. Open it with `LiveBars.open`, then `history`, then iterate.

    A time at which a symbol has no bar is left out; with `outer` it stays and the bar lacks the symbol, as in the lake.
    """

    def __init__(
        self,
        exchange: Exchange,
        channels: Sequence[Channel],
        grace: float = GRACE_SECONDS,
        *,
        outer: bool = False,
        past: Past | None = None,
    ) -> None:
        self._exchange = exchange
        self._past = past
        self._grace = grace
        self._channels = channels
        self._waiting: dict[Symbol, dict[Millis, Candle]] = {channel.symbol: {} for channel in channels}
        self._last: dict[Symbol, Millis] = {}
        self._sent: Millis = 0
        self._join = set[Millis].union if outer else set[Millis].intersection
        self._outer = outer

    @classmethod
    async def open(
        cls,
        feed: Feed,
        venue: str,
        symbols: Sequence[str],
        timeframe: str,
        *,
        grace: float = GRACE_SECONDS,
        outer: bool = False,
        past: Past | None = None,
    ) -> LiveBars:
        """Watch `symbols`; raises what `Feed.watch` raises. `grace` is in seconds, `past` is the lake."""
        channels = await feed.watch(venue, symbols, timeframe)
        return cls(await feed.exchange(venue), channels, grace, outer=outer, past=past)

    async def history(self, count: int, *, since: Millis | None = None, most: int | None = None) -> list[LiveBar]:
        """The newest `count` closed bars, oldest first; fewer when the venue has no more.

        With `since` that many before each bar that opened after it, up to `most` in all.
        """
        if since is not None:
            count += max((_opened(self._channels[0]) - since) // self._channels[0].duration - 1, 0)
        count = count if most is None else min(count, most)
        lookback = count + 2
        while True:
            series = await asyncio.gather(*(self._closed(channel, lookback) for channel in self._channels))
            joined = self._join(*(set(bars) for bars in series))
            oldest = min((min(bars) for bars in series if bars), default=0)
            wanted = max(channel.started or 0 for channel in self._channels) - lookback * self._channels[0].duration
            if len(joined) >= count or oldest > wanted + self._channels[0].duration or lookback > 16 * (count + 2):
                break
            lookback *= 2
        if self._outer and joined:
            await self._catch_up(max(joined), series)
        times = sorted(joined)[-count:] if count else []
        self._sent = max(joined, default=0)
        for channel, bars in zip(self._channels, series, strict=True):
            self._last[channel.symbol] = max(bars, default=(channel.started or 0) - channel.duration)
            self._waiting[channel.symbol] = {time: bar for time, bar in bars.items() if time > self._sent}
        symbols = [channel.symbol for channel in self._channels]
        found = dict(zip(symbols, series, strict=True))
        for channel in self._channels:
            channel.keep([found[channel.symbol][time] for time in times if time in found[channel.symbol]])
        return [LiveBar(time, {s: bars[time] for s, bars in found.items() if time in bars}) for time in times]

    async def follow(self) -> AsyncIterator[LiveBar]:
        """Every bar that closes after the history, when all symbols have it and their next bars have opened.

        With `outer` a symbol that has not gone on after the grace is asked about by REST; it may have no such bar.
        """
        with self._listening() as changed:
            while True:
                time = self._due()
                if time is None:
                    await changed.wait()
                    changed.clear()
                    continue
                await self._opened_after(time, changed)
                if self._outer:
                    self._collect()
                    await self._complete(time, list(self._waiting.values()))
                yield self._take(time)

    @contextmanager
    def _listening(self) -> Iterator[asyncio.Event]:
        """An event that is set whenever a channel has changed."""
        changed = asyncio.Event()
        for channel in self._channels:
            channel.listeners.add(changed)
        try:
            yield changed
        finally:
            for channel in self._channels:
                channel.listeners.discard(changed)

    def _due(self) -> Millis | None:
        """The time of the next bar to hand out, when there is one."""
        self._collect()
        return min(self._join(*(set(waiting) for waiting in self._waiting.values())), default=None)

    def _collect(self) -> None:
        """Take what the channels have closed; what comes after its time was handed out is left behind."""
        for channel in self._channels:
            if channel.failure is not None:
                raise channel.failure
            for candle in channel.closed_after(self._last[channel.symbol]):
                self._last[channel.symbol] = candle.time
                if candle.time > self._sent:
                    self._waiting[channel.symbol][candle.time] = candle

    def _take(self, time: Millis) -> LiveBar:
        self._sent = time
        late = any(time < channel.caught_up for channel in self._channels)
        candles = {symbol: waiting[time] for symbol, waiting in self._waiting.items() if time in waiting}
        for symbol, waiting in self._waiting.items():
            self._waiting[symbol] = {after: candle for after, candle in waiting.items() if after > time}
        return LiveBar(time, candles, late)

    async def _catch_up(self, newest: Millis, series: Sequence[dict[Millis, Candle]]) -> None:
        """Bring every history to the bar at `newest`, which at least one symbol has."""
        with self._listening() as changed:
            await self._opened_after(newest, changed)
        for channel, bars in zip(self._channels, series, strict=True):
            bars |= {candle.time: candle for candle in channel.closed if candle.time <= newest}
        await self._complete(newest, series)

    async def _complete(self, time: Millis, series: Sequence[dict[Millis, Candle]]) -> None:
        """Ask the venue for the bar at `time` of each symbol that has neither it nor a later frame."""
        for channel, bars in zip(self._channels, series, strict=True):
            behind = channel.newest is None or channel.newest.time <= time
            if time not in bars and behind:
                found = await fetch_closed(self._exchange, channel, time, time)
                bars |= {moment: candle for moment, candle in found.items() if moment == time}

    async def _opened_after(self, closed: Millis, changed: asyncio.Event) -> None:
        """Wait until every symbol has a frame of a later bar, or the grace is over (nothing trades, nothing opens)."""

        def opened() -> bool:
            return all(channel.newest is not None and channel.newest.time > closed for channel in self._channels)

        if opened():
            return
        try:
            async with asyncio.timeout(self._grace):
                while not opened():
                    await changed.wait()
                    changed.clear()
        except TimeoutError:
            pass
        changed.set()  # what arrived meanwhile is still to be looked at

    async def _closed(self, channel: Channel, count: int) -> dict[Millis, Candle]:
        """About the newest `count` closed bars; the venue is asked again while it does not serve the newest yet."""
        newest, length = _opened(channel), channel.duration
        since, expected = newest - count * length, newest - length
        first = max(since, newest - PAGE * length) if self._past is not None else since
        found = await fetch_closed(self._exchange, channel, first, newest, expected=expected)
        if self._past is None or (first == since and min(found, default=newest) <= since + length):
            return found
        oldest = min(found, default=newest)
        kept = await self._past.stretch(
            channel.venue, channel.symbol, channel.timeframe, since, oldest + OVERLAP * length
        )
        return await self._joined(channel, kept, since, found)

    async def _joined(
        self, channel: Channel, kept: dict[Millis, Candle], since: Millis, found: dict[Millis, Candle]
    ) -> dict[Millis, Candle]:
        """The lake's bars behind those of the venue, and the venue's for what the lake does not have, from `since` on.

        Where one differs from the venue's, nothing of the lake is taken: it may be another market's.
        """
        oldest = min(found, default=_opened(channel))
        behind = max(kept) - (OVERLAP - 1) * channel.duration if kept else since
        found = await self._before(channel, behind, oldest) | found
        differs = disagreement(kept, found)
        if differs is not None:
            log.warning(
                "the lake differs from the venue, whose bars are taken",
                venue=channel.venue,
                symbol=channel.symbol,
                timeframe=channel.timeframe,
                bar=differs,
            )
            return await self._before(channel, since, min(found)) | found
        if not any(time in found for time in kept):
            return found  # nothing proves that they join
        return await self._before(channel, since, min(kept)) | kept | found

    async def _before(self, channel: Channel, since: Millis, until: Millis) -> dict[Millis, Candle]:
        """The venue's bars in [since, until)."""
        if since >= until:
            return {}
        return await fetch_closed(self._exchange, channel, since, until - channel.duration)


def _opened(channel: Channel) -> Millis:
    """The open time of the newest bar, which may not have closed."""
    newest = channel.newest
    assert newest is not None  # noqa: S101  (a watched channel has a first frame)
    return newest.time
