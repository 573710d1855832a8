"""Events for whoever listens in this process: in the order of `seq`, without a gap, whatever happens to Redis.

One reader per process follows the Redis stream and hands each event to every listener. Each entry names its
predecessor; where one is missing (Redis was down, wiped or trimmed), the database is read instead. In the process that
relays the outbox the events come straight from the relay, and Redis is not asked.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.events import Event
from cashup.storage.outbox import decode, last_seq, read_events
from cashup.storage.redis import EVENTS

log = structlog.get_logger()

_BLOCK_MILLIS = 1000
_RETRY_SECONDS = 0.5
_BACKLOG = 10_000


class _Listener:
    """What one subscriber has not taken yet. A subscriber that falls far behind reads the database again."""

    def __init__(self, streams: Sequence[str]) -> None:
        self.streams = tuple(streams)
        self.waiting: deque[Event] = deque()
        self.awake = asyncio.Event()
        self.overflowed = False

    def offer(self, event: Event) -> None:
        """Keep `event`, which is of one of its streams."""
        if len(self.waiting) >= _BACKLOG:
            self.waiting.clear()
            self.overflowed = True
        if not self.overflowed:
            self.waiting.append(event)
        self.awake.set()


class _Listeners:
    """All listeners, found by the stream of an event without a look at each of them."""

    def __init__(self) -> None:
        self._by_stream: dict[str, set[_Listener]] = defaultdict(set)
        self._by_prefix: dict[str, set[_Listener]] = defaultdict(set)

    def __len__(self) -> int:
        return len(set().union(*self._by_stream.values(), *self._by_prefix.values()))

    def add(self, listener: _Listener) -> None:
        """From now on it is found."""
        for found, name in self._places(listener):
            found[name].add(listener)

    def remove(self, listener: _Listener) -> None:
        """It is not found any more."""
        for found, name in self._places(listener):
            found[name].discard(listener)
            if not found[name]:
                del found[name]

    def of(self, stream: str) -> set[_Listener]:
        """Whoever wants the events of `stream`."""
        prefixes = (listeners for prefix, listeners in self._by_prefix.items() if stream.startswith(prefix))
        return self._by_stream.get(stream, set()).union(*prefixes)

    def _places(self, listener: _Listener) -> Iterator[tuple[dict[str, set[_Listener]], str]]:
        """`deployment:*` stands for every deployment."""
        for stream in set(listener.streams):
            yield (self._by_prefix, stream[:-1]) if stream.endswith("*") else (self._by_stream, stream)


class Events:
    """The events of the outbox, live."""

    def __init__(self, database: AsyncEngine, redis: Redis) -> None:
        self._database = database
        self._redis = redis
        self._listeners = _Listeners()
        self._last: int | None = None
        self._started = asyncio.Event()
        self._from_redis = asyncio.Event()
        self._from_redis.set()

    @property
    def last(self) -> int:
        """The newest number that was handed out here; 0 before the first look."""
        return self._last or 0

    @property
    def listening(self) -> int:
        """How many subscriptions there are."""
        return len(self._listeners)

    async def run(self) -> None:
        """Follow the stream until cancelled. A fault of Redis or the database delays events and loses none."""
        position: bytes | str = "$"
        while True:
            try:
                if self._last is None:
                    position = await self._newest_entry()
                    async with self._database.connect() as connection:
                        self._last = await last_seq(connection)
                    self._started.set()
                if not self._from_redis.is_set():
                    await self._from_redis.wait()
                    position = await self._newest_entry()
                    await self._catch_up()
                position = await self._follow(position)
            except (RedisError, OSError, TimeoutError, SQLAlchemyError) as error:
                log.warning("event stream interrupted", error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
                await self._catch_up_quietly()

    # -- the relay of this process (`outbox.Audience`) --------------------------------------------------------------

    def take_over(self) -> None:
        """From now on the relay brings every event."""
        self._from_redis.clear()

    async def bring(self, previous: int, events: Sequence[Event]) -> None:
        """Hand out what the relay has read."""
        if self._last is None:
            return  # not started: the start reads where the outbox is
        if previous > self._last:
            await self._catch_up()
        for event in events:
            self._hand_out(event)

    def let_go(self) -> None:
        """The relay is elsewhere, or broke: back to Redis."""
        self._from_redis.set()

    # -- listeners --------------------------------------------------------------------------------------------------

    async def subscribe(self, streams: Sequence[str], after: int | None = None) -> AsyncIterator[Event]:
        """Events of `streams` (`account:*` means every account) with a number above `after`, for ever.

        None means from now on. Every event once, in order.
        """
        await self._started.wait()
        listener = _Listener(streams)
        self._listeners.add(listener)
        seen = self.last if after is None else after
        try:
            if after is not None:
                async for event in self._stored(seen, streams):
                    seen = event.seq
                    yield event
            while True:
                await listener.awake.wait()
                listener.awake.clear()
                if listener.overflowed:
                    listener.overflowed = False
                    listener.waiting.clear()
                    async for event in self._stored(seen, streams):
                        seen = event.seq
                        yield event
                while listener.waiting:
                    event = listener.waiting.popleft()
                    if event.seq > seen:
                        seen = event.seq
                        yield event
        finally:
            self._listeners.remove(listener)

    async def _stored(self, after: int, streams: Sequence[str]) -> AsyncIterator[Event]:
        while True:
            async with self._database.connect() as connection:
                events = await read_events(connection, after, streams)
            for event in events:
                yield event
            if not events:
                return
            after = events[-1].seq

    async def _newest_entry(self) -> bytes | str:
        entries: Any = await self._redis.xrevrange(EVENTS, count=1)
        return entries[0][0] if entries else "0-0"

    async def _follow(self, position: bytes | str) -> bytes | str:
        """One read of the stream; the position to read from next."""
        found: Any = await self._redis.xread({EVENTS: position}, count=500, block=_BLOCK_MILLIS)
        for _, entries in found or ():
            for entry, fields in entries:
                await self._take(fields)
                position = entry
        if not found and await self._behind():
            await self._catch_up()
        return position

    async def _take(self, fields: dict[bytes, bytes]) -> None:
        seq, last = int(fields[b"seq"]), self.last
        if seq <= last:
            return
        if int(fields[b"prev"]) > last:
            await self._catch_up()
        self._hand_out(decode(fields[b"event"]))

    async def _behind(self) -> bool:
        """True when the stream is silent although the database has news: Redis was wiped under us."""
        async with self._database.connect() as connection:
            return await last_seq(connection) > self.last

    async def _catch_up(self) -> None:
        async for event in self._stored(self.last, ["*"]):
            self._hand_out(event)

    async def _catch_up_quietly(self) -> None:
        try:
            await self._catch_up()
        except (OSError, TimeoutError, SQLAlchemyError) as error:
            log.warning("events cannot be read", error=str(error))

    def _hand_out(self, event: Event) -> None:
        if event.seq <= self.last:
            return
        self._last = event.seq
        for listener in self._listeners.of(event.stream):
            listener.offer(event)
