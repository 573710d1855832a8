"""A venue on virtual time behind a network that does what networks and venues do, as the seed says.

The venue itself (`PaperAccount`) is perfect and keeps its promise about the fence; all that goes wrong happens between
it and the port: requests and answers are late or lost, reads fail or are stale, frames come late, twice, in another
order or never, the stream breaks, everything is down for a while.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass, field, fields
from decimal import Decimal
from functools import partial
from random import Random
from typing import Any

from cashup.errors import ExchangeTransient
from cashup.exchanges.base import Connected, Disconnected
from cashup.exchanges.paper_frames import read_frame
from cashup.exchanges.paper_venue import PaperVenue
from cashup.exchanges.venue_clock import VenueClock
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
from tests.faults.simulation.clock import SimulatedClock

CERTAIN: Millis = 1_500
"""A clock that is wrong by more than this must be seen to be: beyond the limit by more than an answer may take."""

ANSWER_SECONDS = 10.0
"""How long the port waits for an answer."""


@dataclass
class Weather:
    """How often each thing happens: a probability for each request, frame, or (the last three) second."""

    not_sent: float = 0.0
    lost_request: float = 0.0
    lost_answer: float = 0.0
    late: float = 0.0
    error_before: float = 0.0
    error_after: float = 0.0
    too_many: float = 0.0
    refused: float = 0.0
    failed_read: float = 0.0
    stale_read: float = 0.0
    lost_frame: float = 0.0
    repeated_frame: float = 0.0
    overtaking_frame: float = 0.0
    late_frame: float = 0.0
    broken_stream: float = 0.0
    silent_stream: float = 0.0
    maintenance: float = 0.0

    @classmethod
    def drawn(cls, random: Random) -> Weather:
        """Each fault is off, rare or frequent, independently, so that seeds differ in kind and not only in detail."""
        rates = {each.name: random.choice((0.0, 0.02, 0.1)) for each in fields(cls)}
        for name in ("broken_stream", "silent_stream", "maintenance"):
            rates[name] /= 10
        rates["failed_read"] /= 2  # a scan has four reads or more, and each that fails makes all of it fail
        return cls(**rates)


@dataclass(eq=False)
class _Stream:
    """One subscription. `free_at` is when the frame before this one arrives."""

    queue: asyncio.Queue[Frame | Disconnected] = field(default_factory=asyncio.Queue)
    free_at: float = 0.0
    silent_until: float = 0.0


class SimulatedVenue:
    """The truth, and the way to it. `fair` weather is calm."""

    def __init__(
        self,
        paper: PaperVenue,
        balances: Mapping[str, Decimal],
        random: Random,
        note: Callable[[str], None],
        complain: Callable[[str], None],
    ) -> None:
        self.paper = paper
        self.account = paper.open_account(balances)
        self.weather = Weather()
        self.received: dict[str, list[Millis]] = {}
        self.down_until = 0.0
        self._frames, _ = self.account.listen()
        self._random = random
        self._note = note
        self.complain = complain
        self._streams: list[_Stream] = []
        self._history: dict[str, list[tuple[Millis, OrderReport]]] = {}
        self._balances: deque[tuple[Millis, dict[str, Balance]]] = deque(maxlen=2_000)

    # -- what happens at the venue ----------------------------------------------------------------------------------

    def place(self, request: OrderRequest) -> SendResult:
        """An order reaches the venue."""
        self.received.setdefault(request.client_order_id, []).append(self.paper.clock.now())
        result = self.account.place(request)
        self._note(f"venue: {request.client_order_id} {request.side} {request.symbol} -> {result.result}")
        self._publish()
        return result

    def change(self, what: str, work: Callable[[], Any]) -> Any:
        """A cancel or an amendment reaches the venue."""
        done = work()
        self._note(f"venue: {what} -> {getattr(done, 'result', done)}")
        self._publish()
        return done

    def move(self, symbol: Symbol, price: Decimal, liquidity: Decimal | None) -> None:
        """The market moves."""
        self.paper.move(symbol, price, liquidity)
        self._publish()

    def reports(self, lag: Millis, symbol: Symbol | None = None) -> list[OrderReport]:
        """Every order as it was `lag` ago, oldest first."""
        moment = self.paper.clock.now() - lag
        shown = [[report for at, report in past if at <= moment] for past in self._history.values()]
        return [past[-1] for past in shown if past and (symbol is None or past[-1].symbol == symbol)]

    def trades(self, lag: Millis, symbol: Symbol, since: Millis) -> list[Trade]:
        """The executions that were there `lag` ago."""
        until = self.paper.clock.now() - lag
        return [trade for trade in self.account.trades if trade.symbol == symbol and since <= trade.time <= until]

    def balances(self, lag: Millis) -> dict[str, Balance]:
        """The balances of `lag` ago."""
        moment = self.paper.clock.now() - lag
        past = [balances for at, balances in self._balances if at <= moment]
        shown = past[-1] if past else self.account.balances
        return {asset: balance for asset, balance in shown.items() if balance.total}

    def _publish(self) -> None:
        """Remember what changed, and send the frames on their way."""
        now = self.paper.clock.now()
        changed = False
        while not self._frames.empty():
            frame = self._frames.get_nowait()
            changed = True
            for fact in read_frame(frame):
                if isinstance(fact, OrderReport):
                    self._history.setdefault(fact.exchange_order_id, []).append((now, fact))
            for stream in self._streams:
                self._send_frame(stream, frame)
        if changed:
            self._balances.append((now, dict(self.account.balances)))

    # -- the streams ------------------------------------------------------------------------------------------------

    def open_stream(self) -> _Stream:
        """A new subscription."""
        stream = _Stream()
        self._streams.append(stream)
        return stream

    def close_stream(self, stream: _Stream) -> None:
        """The subscriber has gone."""
        if stream in self._streams:
            self._streams.remove(stream)

    def forget(self, streams: Iterable[_Stream]) -> None:
        """Their subscriber is dead."""
        for stream in streams:
            self.close_stream(stream)

    def break_streams(self) -> None:
        """Every stream breaks; what is on its way to them is lost."""
        for stream in self._streams:
            stream.queue.put_nowait(Disconnected("cut"))
        self._streams.clear()

    def silence_streams(self, seconds: float) -> None:
        """No frame comes for a while, and nobody says so."""
        now = asyncio.get_running_loop().time()
        for stream in self._streams:
            stream.silent_until = now + seconds

    def _send_frame(self, stream: _Stream, frame: Frame) -> None:
        loop = asyncio.get_running_loop()
        if self.happens("lost_frame") or stream.silent_until > loop.time():
            return
        for _ in range(1 + self.happens("repeated_frame")):
            delay = self.delay() + (self._random.uniform(1, 8) if self.happens("late_frame") else 0)
            arrives = loop.time() + delay
            if not self.happens("overtaking_frame"):
                arrives = max(arrives, stream.free_at)
                stream.free_at = arrives
            loop.call_at(arrives, self._arrive, stream, frame)

    def _arrive(self, stream: _Stream, frame: Frame) -> None:
        if stream in self._streams:
            stream.queue.put_nowait(frame)

    # -- chance -----------------------------------------------------------------------------------------------------

    def happens(self, fault: str) -> bool:
        """Whether a fault strikes now."""
        rate: float = getattr(self.weather, fault)
        struck = rate > 0 and self._random.random() < rate
        if struck:
            self._note(f"fault: {fault}")
        return struck

    def delay(self) -> float:
        """Seconds that a message needs one way."""
        return min(self._random.lognormvariate(-4.0, 0.6), 1.0)

    @property
    def down(self) -> bool:
        """True during a maintenance."""
        return asyncio.get_running_loop().time() < self.down_until


class SimulatedExchange:
    """The port of one gateway to the venue."""

    def __init__(self, venue: SimulatedVenue, clock: SimulatedClock, random: Random, world: Context) -> None:
        self.venue = venue
        self._clock = clock
        self._venue_clock = VenueClock(clock)
        self._asked = False
        self.streams: list[_Stream] = []
        self._random = random
        self._world = world

    def admit(self, symbol: Symbol, order_id: str) -> float:
        """No limit but the clock's, which is checked against what is really so."""
        wait = self.apart()
        if wait == 0 and self._asked and abs(self._clock.wrong_by) > CERTAIN:
            self.venue.complain(f"I13: {order_id} was let through with a clock that is wrong by {self._clock.wrong_by}")
        return wait

    def apart(self) -> float:
        return self._venue_clock.wait(self._read_time)

    async def _read_time(self) -> None:
        await self._ask(lambda lag: None)

    async def place(self, request: OrderRequest) -> SendResult:
        """One write; what comes back is classified as an adapter does."""
        if self.venue.happens("not_sent"):
            await asyncio.sleep(self.venue.delay())
            return SendResult(ResultClass.NOT_SENT, message="connection refused")
        return await self._write(lambda: self.venue.place(request))

    async def cancel(self, symbol: Symbol, order_id: str, *, expires_at: Millis | None = None) -> SendResult:
        account = self.venue.account

        def work() -> SendResult:
            return account.cancel(symbol, order_id, expires_at=expires_at)

        return await self._write(lambda: self.venue.change(f"cancel {order_id}", work))

    async def amend(
        self,
        symbol: Symbol,
        order_id: str,
        *,
        quantity: Decimal | None = None,
        price: Decimal | None = None,
        expires_at: Millis | None = None,
    ) -> SendResult:
        account = self.venue.account

        def work() -> SendResult:
            return account.amend(symbol, order_id, quantity=quantity, price=price, expires_at=expires_at)

        return await self._write(lambda: self.venue.change(f"amend {order_id}", work))

    async def cancel_all(self, symbol: Symbol) -> Sequence[OrderReport]:
        account = self.venue.account
        work = partial(self.venue.change, f"cancel all of {symbol}", lambda: account.cancel_all(symbol))
        ended = await self._write(work)
        if isinstance(ended, SendResult):
            raise ExchangeTransient(ended.message)
        return ended

    async def arm_countdown(self, seconds: int) -> Millis | None:
        account = self.venue.account
        due = await self._write(
            lambda: self.venue.change(f"countdown {seconds}", lambda: account.arm_countdown(seconds))
        )
        if isinstance(due, SendResult):
            raise ExchangeTransient(due.message)
        return due

    async def _write(self, work: Callable[[], Any]) -> Any:
        """Have the venue do something, once; what it says, or UNKNOWN."""
        venue = self.venue
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[tuple[Any, Millis]] = loop.create_future()
        asked = loop.time()
        if not venue.happens("lost_request"):
            late = self._random.uniform(1, 9) if venue.happens("late") else 0.0
            self._later(venue.delay() + late, self._arrive, work, answer)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                result, told_at = await answer
        except TimeoutError:
            return SendResult(ResultClass.UNKNOWN, message="no answer")
        self._note_time(told_at, asked)
        return result

    def _note_time(self, told_at: Millis, asked: float) -> None:
        self._venue_clock.note(told_at, asked, asyncio.get_running_loop().time())
        self._asked = True

    def _arrive(self, work: Callable[[], Any], answer: asyncio.Future[tuple[Any, Millis]]) -> None:
        venue = self.venue
        if venue.down or venue.happens("error_before"):
            result = SendResult(ResultClass.UNKNOWN, message="502")
        elif venue.happens("too_many"):
            result = SendResult(ResultClass.REFUSED, label="TOO_MANY_REQUESTS", message="slow down")
        elif venue.happens("refused"):
            result = SendResult(ResultClass.REFUSED, label="INVALID_PARAM_VALUE", message="no")
        else:
            result = work()
            if venue.happens("error_after"):
                result = SendResult(ResultClass.UNKNOWN, message="504")
        if not venue.happens("lost_answer"):
            self._later(venue.delay(), _give, answer, (result, venue.paper.clock.now()))

    def _later(self, seconds: float, work: Callable[..., None], *args: Any) -> None:
        """Have it done in the world: it happens whether the gateway lives or not."""
        asyncio.get_running_loop().call_later(seconds, work, *args, context=self._world)

    async def _ask(self, read: Callable[[Millis], Any], stalest: float = 1.5) -> Any:
        """A read, which fails or shows what was true a moment ago when the seed says so."""
        venue, asked = self.venue, asyncio.get_running_loop().time()
        await asyncio.sleep(venue.delay())
        if venue.down or venue.happens("failed_read"):
            raise ExchangeTransient("502")
        lag = int(self._random.uniform(0, stalest) * 1000) if venue.happens("stale_read") else 0
        found, told_at = read(lag), venue.paper.clock.now()
        await asyncio.sleep(venue.delay())
        self._note_time(told_at, asked)
        return found

    async def markets(self) -> Mapping[Symbol, Market]:
        return {symbol: matcher.market for symbol, matcher in self.venue.paper.matchers.items()}

    async def candles(self, symbol: Symbol, timeframe: str, since: Millis, limit: int = 1000) -> Sequence[Candle]:
        return []

    async def balances(self) -> Mapping[str, Balance]:
        found: Mapping[str, Balance] = await self._ask(self.venue.balances, stalest=20)
        return found

    async def find_order(self, symbol: Symbol, client_order_id: str) -> OrderReport | None:
        """As Gate's: an order that has ended is not found by its client id."""

        def read(lag: Millis) -> OrderReport | None:
            shown = self.venue.reports(lag, symbol)
            found = [r for r in shown if r.client_order_id == client_order_id and not r.done]
            return found[-1] if found else None

        found: OrderReport | None = await self._ask(read)
        return found

    async def fetch_order(self, symbol: Symbol, exchange_order_id: str) -> OrderReport | None:
        def read(lag: Millis) -> OrderReport | None:
            return next((r for r in self.venue.reports(lag, symbol) if r.exchange_order_id == exchange_order_id), None)

        found: OrderReport | None = await self._ask(read)
        return found

    async def open_orders(self) -> Sequence[OrderReport]:
        def read(lag: Millis) -> list[OrderReport]:
            return [report for report in self.venue.reports(lag) if not report.done]

        found: Sequence[OrderReport] = await self._ask(read)
        return found

    async def finished_orders(self, symbol: Symbol, since: Millis, until: Millis) -> Sequence[OrderReport]:
        def read(lag: Millis) -> list[OrderReport]:
            return [r for r in self.venue.reports(lag, symbol) if r.done and since <= r.updated_at <= until]

        found: Sequence[OrderReport] = await self._ask(read)
        return found

    async def trades(self, symbol: Symbol, since: Millis) -> Sequence[Trade]:
        def read(lag: Millis) -> list[Trade]:
            return self.venue.trades(lag, symbol, since)

        found: Sequence[Trade] = await self._ask(read)
        return found

    async def watch_candles(
        self, symbols: Sequence[Symbol], timeframe: str
    ) -> AsyncIterator[Candle | Connected | Disconnected]:
        yield Connected()
        await asyncio.Event().wait()

    async def watch_account(self) -> AsyncIterator[Frame | Connected | Disconnected]:
        while True:
            await asyncio.sleep(self._random.uniform(0.05, 0.5))
            if self.venue.down:
                continue
            stream = self.venue.open_stream()
            self.streams.append(stream)
            try:
                yield Connected()
                item: Frame | Disconnected | None = None
                while not isinstance(item, Disconnected):
                    item = await stream.queue.get()
                    yield item
            finally:
                self.venue.close_stream(stream)
            await asyncio.sleep(self._random.uniform(0.5, 10))

    def read_frame(self, frame: Frame) -> Sequence[OrderReport | Trade]:
        return read_frame(frame)

    async def close(self) -> None:
        self._venue_clock.close()


def _give(answer: asyncio.Future[Any], result: Any) -> None:
    if not answer.done():
        answer.set_result(result)
