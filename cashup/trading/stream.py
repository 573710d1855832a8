"""The private stream of an account: every frame into the inbox, then its news to the account."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from cashup.clock import Clock
from cashup.exchanges.base import Connected, Disconnected, Exchange
from cashup.orders.inbox import Inbox
from cashup.trading.mailbox import News
from cashup.types import Frame, OrderReport, Trade

log = structlog.get_logger()


class AccountStream:
    """Reads the stream for as long as it runs. `connected` is set while nothing is missed; `disconnected` is called
    whenever something may have been."""

    def __init__(
        self,
        exchange: Exchange,
        inbox: Inbox,
        clock: Clock,
        tell: Callable[[News], None],
        disconnected: Callable[[], None],
    ) -> None:
        self.connected = asyncio.Event()
        self._disconnected = disconnected
        self._exchange = exchange
        self._inbox = inbox
        self._clock = clock
        self._tell = tell
        self._frames: list[Frame] = []
        self._some = asyncio.Event()

    async def run(self) -> None:
        """Read and store until cancelled. Raises IntegrityError for a frame that cannot be read: it stays stored."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read())
            group.create_task(self._store())

    async def replay(self) -> None:
        """Tell what was stored before and never acted upon."""
        for ident, frame in await self._inbox.unapplied():
            self._tell(News(self._exchange.read_frame(frame), inbox=(ident,), cause="stream"))

    async def _read(self) -> None:
        async for item in self._exchange.watch_account():
            match item:
                case Frame():
                    self._frames.append(item)
                    self._some.set()
                case Connected():
                    self.connected.set()
                case Disconnected():
                    self.connected.clear()
                    self._disconnected()
                    log.warning("the account's stream broke", reason=item.message)

    async def _store(self) -> None:
        """Commit what has come in meanwhile, all together, and only then pass it on."""
        while True:
            await self._some.wait()
            self._some.clear()
            frames, self._frames = self._frames, []
            read: list[tuple[Frame, Sequence[OrderReport | Trade]]] = []
            try:
                read = [(frame, self._exchange.read_frame(frame)) for frame in frames]
            finally:
                if len(read) < len(frames):
                    await self._inbox.store([(frame, False) for frame in frames], self._clock.now())
            stored = await self._inbox.store([(frame, not facts) for frame, facts in read], self._clock.now())
            for frame, facts in read:
                ident = stored.pop((frame.channel, frame.dedupe_key), None)
                if facts and ident is not None:
                    self._tell(News(facts, inbox=(ident,), cause="stream"))
