"""The outbox: facts are committed together with what made them true, and leave for Redis in the order of `seq`.

`seq` is handed out under a lock that is held until the commit, so that a reader who has seen a number will never see
a smaller one appear behind it. Redis may lose everything; whoever needs what is older reads it here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import asyncpg
import orjson
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Identity,
    Index,
    RowMapping,
    Table,
    Text,
    bindparam,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cashup.events import Event, EventKind
from cashup.storage.database import json_column, metadata, moment
from cashup.storage.redis import EVENTS, EVENTS_MAXLEN
from cashup.storage.statement import Prepared, prepare

log = structlog.get_logger()

outbox = Table(
    "outbox",
    metadata,
    Column("seq", BigInteger, Identity(), primary_key=True),
    Column("stream", Text, nullable=False),
    Column("kind", Text, nullable=False),
    moment("at"),
    json_column("data"),
    Column("published", Boolean, nullable=False, server_default=text("false")),
    Index("ix_outbox_stream_seq", "stream", "seq"),
    Index("ix_outbox_unpublished", "seq", postgresql_where=text("NOT published")),
)

SEQ_LOCK = 0x63617368
"""The advisory lock under which numbers are handed out. Take it after every row lock, never before one."""

_RELAY_LOCK = 0x63617369
_BATCH = 500
_IDLE_SECONDS = 0.5
_RETRY_SECONDS = 1.0
_AGAIN_SECONDS = 0.1
_PASSING = (
    DBAPIError,
    InterfaceError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    OSError,
    RedisError,
    TimeoutError,
)


async def emit(connection: AsyncConnection, stream: str, kind: EventKind, data: Mapping[str, Any], at: int) -> int:
    """Add one event to the transaction of `connection` and return its number. Make it the transaction's last write:
    until the commit nobody else can emit. `data` is JSON with money as `Decimal` or text.
    """
    await connection.execute(select(func.pg_advisory_xact_lock(SEQ_LOCK)))
    row = {"stream": stream, "kind": kind.value, "at": at, "data": dict(data)}
    return int((await connection.execute(insert(outbox).values(row).returning(outbox.c.seq))).scalar_one())


async def read_events(
    connection: AsyncConnection, after: int, streams: Sequence[str] | None = None, limit: int = _BATCH
) -> list[Event]:
    """The events with a number above `after`, oldest first; `streams` may end in `*` to mean every such stream."""
    query = select(outbox).where(outbox.c.seq > after).order_by(outbox.c.seq).limit(limit)
    if streams is not None:
        exact = [name for name in streams if not name.endswith("*")]
        prefixes = [name[:-1] for name in streams if name.endswith("*")]
        matches = [outbox.c.stream.startswith(prefix, autoescape=True) for prefix in prefixes]
        query = query.where(or_(outbox.c.stream.in_(exact), *matches))
    return [_event(row) for row in (await connection.execute(query)).mappings()]


async def last_seq(connection: AsyncConnection) -> int:
    """The number of the newest event, 0 when there is none."""
    return int((await connection.execute(select(func.coalesce(func.max(outbox.c.seq), 0)))).scalar_one())


def encode(event: Event) -> bytes:
    """The event as the JSON that goes over Redis and the WebSocket."""
    document = {
        "seq": event.seq,
        "stream": event.stream,
        "kind": event.kind.value,
        "at": event.at,
        "data": event.data,
    }
    return orjson.dumps(document)


def decode(body: bytes) -> Event:
    """The reverse of `encode`."""
    found = orjson.loads(body)
    return Event(found["seq"], found["stream"], EventKind(found["kind"]), found["at"], found["data"])


class Audience(Protocol):
    """Whoever listens in the relay's own process: it need not wait for what went out to come back from Redis."""

    def take_over(self) -> None:
        """From now on every event is brought."""
        ...

    async def bring(self, previous: int, events: Sequence[Event]) -> None:
        """`events` in order; `previous` is the number before the first of them."""
        ...

    def let_go(self) -> None:
        """Nothing is brought any more."""
        ...


class Relay:
    """Copies the outbox to the Redis stream `cashup:events`, in order, each event at least once.

    One gateway relays at a time (a session lock in the database); the others wait to take over. `wake` makes it look
    at once; without it it looks twice a second. A lost Redis delays the copy and nothing else.
    """

    def __init__(self, engine: AsyncEngine, redis: Redis, audience: Audience | None = None) -> None:
        self._engine = engine
        self._redis = redis
        self._audience = audience
        self._awake = asyncio.Event()
        self._news = asyncio.Event()
        self._unsent: list[Event] = []
        self._sent = 0

    def wake(self) -> None:
        """Something was emitted in this process."""
        self._awake.set()

    async def run(self) -> None:
        """Relay until cancelled."""
        while True:
            try:
                async with self._engine.connect() as connection:
                    await self._relay_on(await connection.execution_options(isolation_level="AUTOCOMMIT"))
            except* _PASSING as group:
                log.warning("outbox relay interrupted", error="; ".join(map(str, group.exceptions)))
                await asyncio.sleep(_RETRY_SECONDS)

    async def _relay_on(self, connection: AsyncConnection) -> None:
        if not (await connection.execute(select(func.pg_try_advisory_lock(_RELAY_LOCK)))).scalar_one():
            await asyncio.sleep(_RETRY_SECONDS)
            return
        self._sent = await _published(connection)
        self._unsent.clear()
        driver = (await connection.get_raw_connection()).driver_connection
        try:
            if self._audience is not None:
                self._audience.take_over()
            async with asyncio.TaskGroup() as tasks:
                publishing = tasks.create_task(self._publish_on())
                try:
                    await self._read_on(connection, driver)
                finally:
                    await _end(publishing)
        finally:
            if self._audience is not None:
                self._audience.let_go()

    async def _read_on(self, connection: AsyncConnection, driver: Any) -> None:
        """Bring what is new to this process at once, and leave it to `_publish_on` for the others."""
        read = marked = self._sent
        while True:
            rows = await driver.fetch(_NEXT.sql, *_NEXT.bind({"sent": read}))
            events = [Event(row[0], row[1], EventKind(row[2]), row[3], row[4]) for row in rows]
            if events:
                if self._audience is not None:
                    await self._audience.bring(read, events)
                read = events[-1].seq
                self._unsent.extend(events)
                self._news.set()
            quiet = len(events) < _BATCH and not await self._woken()
            if self._sent > marked and (quiet or self._sent - marked >= _BATCH):
                await self._mark(connection)
                marked = self._sent

    async def _publish_on(self) -> None:
        """Write to Redis what was read meanwhile, in one go; the reader does not wait for it."""
        while True:
            await self._news.wait()
            self._news.clear()
            events, self._unsent = self._unsent, []
            if events:
                await self._publish(events)
                self._sent = events[-1].seq

    async def _woken(self) -> bool:
        """Wait for a wake, but not for long; True when there was one."""
        try:
            async with asyncio.timeout(_IDLE_SECONDS):
                await self._awake.wait()
        except TimeoutError:
            return False
        self._awake.clear()
        return True

    async def _publish(self, events: Sequence[Event]) -> None:
        async with self._redis.pipeline(transaction=False) as pipe:
            previous = self._sent
            for event in events:
                fields: dict[Any, Any] = {"seq": event.seq, "prev": previous, "event": encode(event)}
                pipe.xadd(EVENTS, fields, maxlen=EVENTS_MAXLEN, approximate=True)
                previous = event.seq
            await pipe.execute()

    async def _mark(self, connection: AsyncConnection) -> None:
        """Remember what was published, when there is time for it; forgetting it only repeats some events."""
        done = update(outbox).where(outbox.c.seq <= self._sent, ~outbox.c.published).values(published=True)
        await connection.execute(done)


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel until it has ended: a task group does so once, and redis-py may lose that, as wait_for of Python 3.11."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        task.cancel()
        try:
            await asyncio.wait([task], timeout=_AGAIN_SECONDS)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def _published(connection: AsyncConnection) -> int:
    """The number up to which everything is known to have been published."""
    first = (await connection.execute(select(func.min(outbox.c.seq)).where(~outbox.c.published))).scalar_one()
    return int(first) - 1 if first is not None else await last_seq(connection)


def _next() -> Prepared:
    """What the relay asks for after every commit, so it goes past SQLAlchemy."""
    columns = (outbox.c.seq, outbox.c.stream, outbox.c.kind, outbox.c.at, outbox.c.data)
    newer = outbox.c.seq > bindparam("sent", type_=BigInteger)
    return prepare(select(*columns).where(newer).order_by(outbox.c.seq).limit(_BATCH))


_NEXT = _next()


def _event(row: RowMapping) -> Event:
    return Event(row["seq"], row["stream"], EventKind(row["kind"]), row["at"], row["data"])
