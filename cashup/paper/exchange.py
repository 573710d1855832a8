"""A paper account behind the port: it trades on the live prices of a venue's public side, and on a book of its own.

A request travels, meets the market as it is when it arrives, and is answered when the book has it. What rests is
matched whenever the venue says something of its market. Nothing is polled, and nothing of the order path is read.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import structlog

from cashup.clock import Clock
from cashup.errors import ExchangeError, ExchangeTransient, Unavailable, UsageError
from cashup.exchanges.base import Connected, Disconnected, Exchange
from cashup.exchanges.paper_entry import gone
from cashup.exchanges.paper_frames import read_frame
from cashup.exchanges.paper_terms import PaperTerms
from cashup.exchanges.paper_venue import PaperAccount
from cashup.markets.feed import Channel, Feed, fetch_closed
from cashup.monitoring.tasks import begin, end
from cashup.paper.book import Book
from cashup.paper.market import PaperMarket
from cashup.paper.session import Session
from cashup.paper.tables import paper_orders
from cashup.types import (
    Balance,
    Candle,
    Frame,
    Market,
    Millis,
    OrderReport,
    OrderRequest,
    ResultClass,
    SendResult,
    Symbol,
    Trade,
)

log = structlog.get_logger()

Work = Callable[[PaperAccount], SendResult]

_AGAIN_SECONDS = 1.0
_SILENT = (ExchangeError, Unavailable, UsageError)
"""What a market without prices raises, and a book that does not answer."""


class LivePaper:
    """The paper account `name` on the prices that `feed` has of `venue`; its book is in the database of `book`."""

    def __init__(self, name: str, venue: str, terms: PaperTerms, *, book: Book, feed: Feed, clock: Clock) -> None:
        self.name = name
        self.terms = terms
        self._venue = venue
        self._book = book
        self._feed = feed
        self._clock = clock
        self._random = random.Random(terms.seed)  # noqa: S311 - a delay, not a secret
        self._lock = asyncio.Lock()
        self._session: Session | None = None
        self._rules: Mapping[Symbol, Market] = {}
        self._moved = asyncio.Event()
        self._heard: dict[Symbol, Channel] = {}
        self._reminder: asyncio.TimerHandle | None = None
        self._listeners: set[asyncio.Queue[Frame | Disconnected]] = set()

    # -- the venue's public side ----------------------------------------------------------------------------------

    async def markets(self) -> Mapping[Symbol, Market]:
        """What trades on the venue, with the fees of this account."""
        if not self._rules:
            listed = await (await self._public()).markets()
            own = self.terms.taker_fee is not None or self.terms.maker_fee is not None
            # Without fees of its own an account shares the venue's list: it is long, and accounts are many.
            self._rules = {symbol: self._priced(market) for symbol, market in listed.items()} if own else listed
        return self._rules

    async def candles(self, symbol: Symbol, timeframe: str, since: Millis, limit: int = 1000) -> Sequence[Candle]:
        """The venue's bars."""
        return await (await self._public()).candles(symbol, timeframe, since, limit)

    async def watch_candles(
        self, symbols: Sequence[Symbol], timeframe: str
    ) -> AsyncIterator[Candle | Connected | Disconnected]:
        """The venue's candles."""
        stream = (await self._public()).watch_candles(symbols, timeframe)
        try:
            async for item in stream:
                yield item
        finally:
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()

    def _priced(self, market: Market) -> Market:
        taker, maker = self.terms.taker_fee, self.terms.maker_fee
        return replace(
            market,
            taker_fee=market.taker_fee if taker is None else taker,
            maker_fee=market.maker_fee if maker is None else maker,
        )

    async def _public(self) -> Exchange:
        return await self._feed.exchange(self._venue)

    # -- the account ----------------------------------------------------------------------------------------------

    async def balances(self) -> Mapping[str, Balance]:
        """Every asset with something on it."""
        return await self._book.balances()

    async def find_order(self, symbol: Symbol, client_order_id: str) -> OrderReport | None:
        """The newest order with this client id, finished or not."""
        ours = paper_orders.c.client_order_id == client_order_id
        found = await self._book.orders(paper_orders.c.symbol == symbol, ours)
        return found[-1] if found else None

    async def fetch_order(self, symbol: Symbol, exchange_order_id: str) -> OrderReport | None:
        """The order with the venue's id, or None when the account has no such order."""
        if not exchange_order_id.isdecimal() or len(exchange_order_id) > 18:
            return None
        found = await self._book.orders(paper_orders.c.symbol == symbol, paper_orders.c.id == int(exchange_order_id))
        return found[0] if found else None

    async def open_orders(self) -> Sequence[OrderReport]:
        """Everything that rests, oldest first."""
        return await self._book.orders(~paper_orders.c.done)

    async def finished_orders(self, symbol: Symbol, since: Millis, until: Millis) -> Sequence[OrderReport]:
        """Orders that ended in [since, until]."""
        when = paper_orders.c.updated_at.between(since, until)
        return await self._book.orders(paper_orders.c.symbol == symbol, paper_orders.c.done, when)

    async def trades(self, symbol: Symbol, since: Millis) -> Sequence[Trade]:
        """The account's executions since `since`, oldest first."""
        return await self._book.trades(symbol, since)

    def admit(self, symbol: Symbol, order_id: str) -> float:
        """Paper has no rate limits."""
        return 0.0

    def apart(self) -> float:
        """Paper has our clock."""
        return 0.0

    async def place(self, request: OrderRequest) -> SendResult:
        """Send the order and match it where it arrives. UNKNOWN when it was matched and the book does not answer."""
        return await self._send(request.symbol, lambda account: account.place(request))

    async def amend(
        self,
        symbol: Symbol,
        order_id: str,
        *,
        quantity: Decimal | None = None,
        price: Decimal | None = None,
        expires_at: Millis | None = None,
    ) -> SendResult:
        """Send new terms of a resting order; they meet the market where they arrive."""
        terms: dict[str, Any] = {"quantity": quantity, "price": price, "expires_at": expires_at}
        answer = await self._send(symbol, lambda account: account.amend(symbol, order_id, **terms))
        return await self._known(symbol, order_id, answer)

    async def cancel(self, symbol: Symbol, order_id: str, *, expires_at: Millis | None = None) -> SendResult:
        """Send a cancel. It needs no live price: what the market is known to have done comes first."""
        await self._travel()
        answer = await self._done(
            symbol, self._heard.get(symbol), lambda account: account.cancel(symbol, order_id, expires_at=expires_at)
        )
        return await self._known(symbol, order_id, answer)

    async def cancel_all(self, symbol: Symbol) -> Sequence[OrderReport]:
        """Cancel everything that rests in one market; the orders that it ended."""
        await self._travel()
        async with self._turn() as session:
            if (channel := self._heard.get(symbol)) is not None:
                await self._advance(session.market(symbol), channel)
            return session.account.cancel_all(symbol)

    async def arm_countdown(self, seconds: int) -> Millis | None:
        """Cancel everything that rests in so many seconds, 0 for never, whether a gateway runs then or not."""
        await self._travel()
        async with self._turn() as session:
            due = session.account.arm_countdown(seconds)
        self._remind(due)
        return due

    async def _send(self, symbol: Symbol, work: Work) -> SendResult:
        await self._travel()
        try:
            channel = await self._live(symbol) if symbol in await self.markets() else None
        except _SILENT as error:
            return SendResult(ResultClass.NOT_SENT, message=str(error))
        return await self._done(symbol, channel, work)

    async def _done(self, symbol: Symbol, channel: Channel | None, work: Work) -> SendResult:
        """The answer of the account once the market is where `channel` has it, and the book knows what became of it."""
        try:
            async with self._turn() as session:
                if channel is not None:
                    await self._advance(session.market(symbol), channel)
                return work(session.account)
        except _SILENT as error:
            return SendResult(ResultClass.UNKNOWN, message=str(error))

    async def _known(self, symbol: Symbol, order_id: str, answer: SendResult) -> SendResult:
        """An order that has ended is not in memory any more; the book knows how it did."""
        if answer.label != "ORDER_NOT_FOUND":
            return answer
        try:
            report = await self.fetch_order(symbol, order_id) or await self.find_order(symbol, order_id)
        except ExchangeError:
            return answer
        return gone(order_id, report.reason) if report is not None else answer

    async def watch_account(self) -> AsyncIterator[Frame | Connected | Disconnected]:
        """Every private frame from the moment of `Connected`, at which the book is read anew.

        While it is watched, what rests is matched, beginning with what the market did since the book was written.
        """
        said: asyncio.Queue[Frame | Disconnected] = asyncio.Queue()
        self._listeners.add(said)
        self._session = None
        following = begin(f"paper {self.name}", self._follow())
        try:
            while True:
                if following.done():
                    await following
                try:
                    async with self._turn() as session:
                        self._remind(session.account.cancel_at)
                    self._moved.set()
                except _SILENT as error:
                    yield Disconnected(str(error))
                    await asyncio.sleep(_AGAIN_SECONDS)
                    continue
                yield Connected()
                while isinstance(item := await said.get(), Frame):
                    yield item
                yield item
        finally:
            self._listeners.discard(said)
            await end(following)

    def read_frame(self, frame: Frame) -> Sequence[OrderReport | Trade]:
        """What a frame says; raises IntegrityError for what it cannot read."""
        return read_frame(frame)

    async def close(self) -> None:
        """Stop listening to the markets; the venue's public side is not this account's to close."""
        self._hear_only(())
        self._remind(None)

    # -- matching -------------------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Match what the markets have done until now; the fills are in the book and told when this returns."""
        async with self._turn() as session:
            session.account.fall_due()
            waiting = session.resting
        channels = await asyncio.gather(*(self._channel(symbol) for symbol in waiting), return_exceptions=True)
        async with self._turn() as session:
            for symbol, channel in zip(waiting, channels, strict=True):
                if isinstance(channel, Channel):
                    await self._advance(session.market(symbol), channel)
                elif isinstance(channel, _SILENT):
                    log.warning("a paper market is silent", account=self.name, symbol=symbol, error=str(channel))
                    asyncio.get_running_loop().call_later(_AGAIN_SECONDS, self._moved.set)
                else:
                    raise channel
            self._hear_only(session.resting)

    async def _follow(self) -> None:
        """Settle whenever the market of a resting order has moved."""
        while True:
            await self._moved.wait()
            self._moved.clear()
            try:
                await self.settle()
            except _SILENT as error:
                log.warning("paper orders are not matched", account=self.name, error=str(error))
                await asyncio.sleep(_AGAIN_SECONDS)
                self._moved.set()

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[Session]:
        """The account, for this task alone. What the block changes is committed and told at its end, or forgotten."""
        async with self._lock:
            if self._session is None:
                self._session = Session(await self._book.page(), await self.markets(), self.terms, self._clock)
            session = self._session
            try:
                yield session
                if (change := session.turn()) is not None:
                    await self._book.write(change.page, change.orders, change.trades, self._clock.now())
                    for said in self._listeners:
                        for frame in change.frames:
                            said.put_nowait(frame)
            except BaseException as error:  # memory and book may differ now: the book is right, and is read again
                self._session = None
                for said in self._listeners:
                    said.put_nowait(Disconnected(f"the paper account {self.name} is read again: {error!r}"))
                raise

    async def _advance(self, market: PaperMarket, channel: Channel) -> None:
        """Show the market what its channel has brought since the last time."""
        self._heard[market.symbol] = channel
        channel.listeners.add(self._moved)
        for candle in await self._unseen(market, channel):
            market.show(candle)

    async def _unseen(self, market: PaperMarket, channel: Channel) -> list[Candle]:
        """The candles to show: all since the last one when orders rest here, else the newest and the bar before it."""
        newest = channel.newest
        assert newest is not None  # noqa: S101  (a watched channel has a first frame)
        since = newest.time - channel.duration
        if market.seen is not None:
            since = market.seen.time if market.rests else max(market.seen.time, since)
        try:
            kept = channel.closed_after(since - 1)
        except Unavailable:
            kept = list(channel.closed)
        first = kept[0].time if kept else newest.time
        missed: dict[Millis, Candle] = {}
        if since < first and (market.rests or market.limited):
            last = first - channel.duration
            missed = await fetch_closed(await self._public(), channel, since, last, expected=last)
        return [*missed.values(), *kept, newest]

    async def _live(self, symbol: Symbol) -> Channel:
        """The channel of a market that an order is to meet; ExchangeTransient when its prices are not live."""
        channel = await self._channel(symbol)
        if not channel.connected:
            raise ExchangeTransient(f"{self._venue} sends no prices of {symbol} now; a paper order needs a live market")
        return channel

    async def _channel(self, symbol: Symbol) -> Channel:
        (channel,) = await self._feed.watch(self._venue, [symbol], self.terms.timeframe)
        return channel

    def _hear_only(self, symbols: Sequence[Symbol]) -> None:
        for symbol in set(self._heard) - set(symbols):
            self._heard.pop(symbol).listeners.discard(self._moved)

    def _remind(self, due: Millis | None) -> None:
        """Look at the account again when its countdown runs out."""
        if self._reminder is not None:
            self._reminder.cancel()
        left = max(due - self._clock.now(), 0) / 1000 if due is not None else 0
        self._reminder = None if due is None else asyncio.get_running_loop().call_later(left, self._moved.set)

    async def _travel(self) -> None:
        delay = self.terms.latency + self._random.randint(0, self.terms.jitter)
        if delay:
            await asyncio.sleep(delay / 1000)
