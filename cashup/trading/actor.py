"""The actor of an account: one task that holds the lease and does all that changes the account, one turn at a time.

A cycle is: take the lease, read the desks, listen to the venue, reconcile, work. Whatever goes wrong ends the cycle,
and the next one starts from the tables: memory is never repaired, only read again. Writing to the venue and searching
on it happen beside the turns (`errands.py`) and come back as news.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import Clock
from cashup.errors import CashUpError, Conflict, ExchangeError, ExchangeTransient, NotFound, Unavailable, UsageError
from cashup.exchanges.base import Exchange
from cashup.orders.inbox import Inbox
from cashup.orders.journal import FenceLost, Journal
from cashup.orders.lease import AccountState, Holder, Lease
from cashup.orders.patience import Patience
from cashup.storage.lines import Lines
from cashup.trading.countdown import COUNTDOWN, Countdown, may_rest
from cashup.trading.desks import Desks
from cashup.trading.digest import digest
from cashup.trading.errands import Errands
from cashup.trading.flatten import flatten
from cashup.trading.halts import CONTRADICTION, Halts, Scope
from cashup.trading.loss_watch import LossWatch
from cashup.trading.mailbox import Mailbox, News
from cashup.trading.prices import Marks, Prices
from cashup.trading.reconciliation import Comparison, Reconciler, abandoned, accept, uncovered
from cashup.trading.risk import TradingState
from cashup.trading.stream import AccountStream
from cashup.trading.sweep import Sweeper

log = structlog.get_logger()

_TICK_SECONDS = 0.25
_TAKE_SECONDS = 0.5
_AGAIN_SECONDS = 0.5
_AGAIN_AT_MOST_SECONDS = 5.0
_BLOCKED_SECONDS = 30.0
_CONNECT_SECONDS = 20.0
_WATCH_SECONDS = 1.0

Work = Callable[[Desks], Awaitable[Any]]
_EXPECTED = (Conflict, NotFound, UsageError, FenceLost)
"""Answers to whoever asked; the account is none the worse for them."""


@dataclass(slots=True, eq=False)
class _Call:
    """Something to be done between two turns; `always` also when the account is not ready."""

    work: Work
    always: bool
    future: asyncio.Future[Any]


class AccountActor:
    """Trades one account. `run` it as a task; ask it by `call`."""

    def __init__(
        self,
        account: str,
        venue: str,
        exchange: Exchange,
        engine: AsyncEngine,
        lines: Lines,
        clock: Clock,
        marks: Marks,
        holder: Holder,
        patience: Patience,
        emitted: Callable[[], None],
    ) -> None:
        self.account = account
        self.venue = venue
        self.exchange = exchange
        self.marks = marks
        self.state = AccountState.RECONCILING
        self.message = ""
        self._engine = engine
        self._lines = lines
        self._clock = clock
        self._holder = holder
        self._patience = patience
        self._emitted = emitted
        self._halts = Halts(engine, clock, emitted)
        self._mailbox = Mailbox(patience, self._explained)
        self._sweeper = Sweeper(account, exchange, engine, clock, self._mailbox.put, self._flatten)
        self._errands = Errands(exchange, clock, patience, self._mailbox.put)
        self._calls: deque[_Call] = deque()
        self._behind: str | None = None
        self._countdown: Countdown | None = None
        self._failures = 0
        self._accepting: tuple[str, asyncio.Future[None]] | None = None

    async def run(self) -> None:
        """Trade until cancelled; the lease is given back at the end."""
        while True:
            try:
                await self._cycle()
            except* Exception as group:  # the actor's edge: an account must not be left alone, whatever the error
                error = _first(group)
                self.message = str(error)
                defect = None if isinstance(error, CashUpError | SQLAlchemyError | OSError) else error
                log.warning("account starts over", account=self.account, error=self.message, exc_info=defect)
            self._failures = 0 if self.state is AccountState.READY else self._failures + 1
            self.state = AccountState.RECONCILING
            await self._errands.end_searches()
            await asyncio.sleep(min(_AGAIN_SECONDS * 2 ** min(self._failures, 4), _AGAIN_AT_MOST_SECONDS))

    async def close(self) -> None:
        """Wait for the venue's answers and close the connection to it. Call it after `run` was cancelled."""
        await self._errands.close()
        for call in self._calls:
            if not call.future.done():
                call.future.set_exception(Unavailable("the gateway is stopping; try again when it is back"))
        await self.exchange.close()

    async def call(self, work: Work, *, always: bool = False) -> Any:
        """Have `work` done between two turns, once the account is ready; its result.

        With `always` also while it is blocked or compared with the venue: for what only ends orders. Raises what
        `work` raises, and Unavailable when the account is blocked, when its turn does not come for too long, or when
        something broke (the outcome is then unknown: ask again with the same key).
        """
        if self.state is AccountState.BLOCKED and not always:
            raise self._blocked()
        call = _Call(work, always, asyncio.get_running_loop().create_future())
        self._calls.append(call)
        self._mailbox.wake()
        waits = asyncio.get_running_loop().call_later(self._patience.answer / 1000, self._give_up, call)
        try:
            return await call.future
        finally:
            waits.cancel()

    async def accept(self, subject: str) -> None:
        """An operator has looked: book the differences as they are, lift what they halted, and compare again.

        Raises Conflict when the account is not blocked.
        """
        if self.state is not AccountState.BLOCKED or self._accepting is not None:
            raise Conflict(f"account {self.account} is {self.state}; there is nothing to accept")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._accepting = (subject, future)
        self._mailbox.wake()
        await future

    def sweep(self) -> None:
        """Somebody was killed: look at once whether there is something to do here."""
        self._sweeper.wake()

    # -- a cycle --------------------------------------------------------------------------------------------------

    async def _cycle(self) -> None:
        lease = await self._take()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(lease.keep()), group.create_task(self._sweeper.run())]
            inbox = Inbox(self._engine, self._lines, self.account, lease.fence)
            stream = AccountStream(self.exchange, inbox, self._clock, self._mailbox.put, self._disconnected)
            try:
                desks = await self._desks(lease)
                self._countdown = self._countdown_of(desks)
                await self._countdown.load()
                tasks += [group.create_task(stream.run()), group.create_task(self._countdown.run())]
                await self._recover(desks, stream)
                await self._reconcile(lease, desks, stream)
                tasks.append(group.create_task(self._watch(lease, desks)))
                tasks.append(group.create_task(self._compare(desks)))
                await self._work(lease, desks, stream)
            except (CashUpError, TimeoutError) as error:
                with suppress(CashUpError, SQLAlchemyError, OSError):
                    await lease.mark(AccountState.RECONCILING, str(error), self._clock)
                raise
            finally:
                for task in tasks:
                    task.cancel()
                with suppress(CashUpError, SQLAlchemyError, OSError):
                    await lease.release()

    async def _take(self) -> Lease:
        while (lease := await Lease.take(self._engine, self.account, self._holder)) is None:
            self.message = "another gateway trades this account"
            await asyncio.sleep(_TAKE_SECONDS)
        return lease

    async def _desks(self, lease: Lease) -> Desks:
        journal = Journal(self._lines, self.account, lease.fence)
        markets = await self.exchange.markets()
        prices = Prices(self.marks, self.venue)
        desks = Desks(
            self.account,
            self._engine,
            journal,
            self._clock,
            prices,
            markets,
            self._patience,
            self._lines,
            self._emitted,
        )
        desks.opened_at = lease.opened_at or 0
        await desks.load()
        return desks

    def _countdown_of(self, desks: Desks) -> Countdown:
        return Countdown(
            self.account,
            self.exchange,
            self._engine,
            self._halts,
            self._clock,
            self._patience,
            resting=lambda: may_rest(desks.unsettled()),
            reread=lambda: self._disagrees(COUNTDOWN),
            current=lambda: self.state is AccountState.READY and self._behind is None,
        )

    def _explained(self, news: News) -> News:
        """`news` with the countdown as the reason of what it cancelled."""
        return news if self._countdown is None else replace(news, facts=self._countdown.explain(news.facts))

    async def _recover(self, desks: Desks, stream: AccountStream) -> None:
        """What a process before this one left behind: orders in the middle of being sent, frames not acted upon."""
        await digest(desks, abandoned(desks))
        await desks.lapse()
        await stream.replay()

    async def _reconcile(self, lease: Lease, desks: Desks, stream: AccountStream) -> None:
        """Orders, trades, balances; ends with the account READY or BLOCKED. Nothing is sent meanwhile."""
        cause, self._behind = self._behind or "start", None
        latched = await self._halts.of_account(self.account, CONTRADICTION)
        stopped = latched.reason if latched is not None else None
        await self._mark(lease, AccountState.RECONCILING, stopped or "comparing with the venue")
        reconciler = self._reconciler(desks)
        if not await reconciler.until(stream.connected, _CONNECT_SECONDS):
            raise ExchangeTransient(f"the venue's account stream did not open in {_CONNECT_SECONDS:.0f} s")
        comparison = await reconciler.run(cause)
        problem = comparison.problem or uncovered(desks.free, self.account) or desks.alarm or stopped
        if problem is None:
            await self._mark(lease, AccountState.READY, "", comparison)
        else:
            await self._block(lease, desks, problem, comparison)

    async def _compare(self, desks: Desks) -> None:
        """Compare with the venue while all is well: now and then, and when it has become quiet after a fill."""
        reconciler, last = self._reconciler(desks), self._clock.now()
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            now = self._clock.now()
            quiet = last < desks.booked_at <= now - self._patience.quiet
            if self.state is not AccountState.READY or not (quiet or now - last >= self._patience.survey):
                continue
            last = now
            try:
                agrees = await reconciler.glance()
            except ExchangeError as error:
                log.warning("the venue could not be compared with", account=self.account, error=str(error))
            else:
                if not agrees:
                    self._disagrees("running")

    def _reconciler(self, desks: Desks) -> Reconciler:
        async def between() -> None:
            await self._answer(desks)

        return Reconciler(self.exchange, self._engine, self._clock, desks, self._mailbox, self._errands, between)

    async def _block(self, lease: Lease, desks: Desks, problem: str, comparison: Comparison | None = None) -> None:
        log.error("account blocked", account=self.account, problem=problem)
        if desks.alarm is not None:
            halted = (Scope.ACCOUNT, self.account, CONTRADICTION, TradingState.HALTED, desks.alarm)
            await self._halts.latch(*halted, by="system")
        await self._mark(lease, AccountState.BLOCKED, problem, comparison)
        self._refuse_calls()

    async def _mark(
        self, lease: Lease, state: AccountState, message: str, comparison: Comparison | None = None
    ) -> None:
        await lease.mark(state, message, self._clock, comparison.to_json() if comparison is not None else None)
        self.state, self.message = state, message
        self._emitted()

    # -- work -----------------------------------------------------------------------------------------------------

    async def _work(self, lease: Lease, desks: Desks, stream: AccountStream) -> None:
        """Turn after turn, until something breaks. A blocked account ends after a while, to be compared again."""
        deadline = None
        if self.state is AccountState.BLOCKED:
            deadline = asyncio.get_running_loop().time() + _BLOCKED_SECONDS
        reconciler = self._reconciler(desks)
        await desks.tick()
        while deadline is None or asyncio.get_running_loop().time() < deadline:
            await self._send(desks)
            await self._mailbox.wait(self._until_next(desks, deadline))
            if self._behind is not None:
                await self._reconcile(lease, desks, stream)
                if self.state is not AccountState.READY:
                    return
                deadline = None
            await reconciler.digest()
            if self._accepting is not None:
                await self._accept(lease, desks, *self._accepting)
                return
            await self._answer(desks)
            if desks.busy:
                await desks.tick()
            problem = desks.alarm or uncovered(desks.free, self.account)
            if problem is not None and self.state is AccountState.READY:
                await self._block(lease, desks, problem)
                return

    async def _watch(self, lease: Lease, desks: Desks) -> None:
        """Look after losses whenever the books are right."""
        losses = LossWatch(lease, self._engine, self._halts, self._clock)
        while True:
            if self.state is AccountState.READY:
                await desks.watch(losses)
            await asyncio.sleep(_WATCH_SECONDS)

    def _until_next(self, desks: Desks, deadline: float | None) -> float | None:
        """How long to wait for news: until a tick is due, or the venue lets the next order in."""
        tick = _TICK_SECONDS if desks.busy or deadline is not None else None
        return min(filter(None, (tick, desks.pause)), default=None)

    async def _send(self, desks: Desks) -> None:
        if self.state is AccountState.READY and self._behind is None:
            for request in await desks.claim(self.exchange.admit):
                self._errands.send(request)
                if self._countdown is not None:
                    self._countdown.wake()
            for record in await desks.claim_amendments(self.exchange.admit):
                self._errands.amend(record)
        self._errands.follow(desks.unsettled())

    async def _answer(self, desks: Desks) -> None:
        while (call := self._next_call()) is not None:
            if call.future.done():
                continue
            try:
                result = await call.work(desks)
            except _EXPECTED as error:
                call.future.set_exception(error)
            except BaseException:
                call.future.set_exception(
                    Unavailable(f"account {self.account} starts over; ask again", code="starting_over")
                )
                raise
            else:
                call.future.set_result(result)
                await self._send(desks)

    def _next_call(self) -> _Call | None:
        """The oldest call that may be answered now."""
        for call in self._calls:
            if call.always or self.state is AccountState.READY:
                self._calls.remove(call)
                return call
        return None

    async def _accept(self, lease: Lease, desks: Desks, subject: str, done: asyncio.Future[None]) -> None:
        self._accepting = None
        await accept(desks, (await self._reconciler(desks).look()).differences, subject)
        with suppress(NotFound):
            await self._halts.lift(Scope.ACCOUNT, self.account, CONTRADICTION, by=subject)
        self.state = AccountState.RECONCILING
        done.set_result(None)

    async def _flatten(self, deployment: str) -> str | None:
        if self.state is not AccountState.READY:
            return f"account {self.account} is {self.state}: {self.message}"

        async def work(desks: Desks) -> str | None:
            return await flatten(desks, deployment)

        waits: str | None = await self.call(work)
        return waits

    def _disconnected(self) -> None:
        self._disagrees("reconnect")

    def _disagrees(self, cause: str) -> None:
        """Nothing is sent any more until venue and books are compared once more."""
        self._behind = cause
        self._mailbox.wake()

    def _give_up(self, call: _Call) -> None:
        """Whoever asked has waited long enough, and nothing was begun."""
        if call in self._calls:
            self._calls.remove(call)
            reason = f"account {self.account} is not ready: {self.message or self.state}; ask again"
            if not call.future.done():
                call.future.set_exception(Unavailable(reason, code="account_not_ready"))

    def _refuse_calls(self) -> None:
        refused = [call for call in self._calls if not call.always]
        for call in refused:
            self._calls.remove(call)
            if not call.future.done():
                call.future.set_exception(self._blocked())

    def _blocked(self) -> Unavailable:
        return Unavailable(f"account {self.account} is blocked: {self.message}", code="account_blocked")


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
