"""The dead man's switch: the venue cancels what rests when this gateway has not been heard of for a while.

After how long is a figure of the account. It is started anew three times in that time at least, and every 15 seconds.
It is armed while an order of ours rests, or may, and called off when none does: it would cancel other people's orders
on the account as well. Three refreshes in a row that fail mean that it may have gone off: nothing is added to a
position any more until the venue answers again and the orders were read again. When it will go off is written down, so
that a process that comes later can say of an order that vanished meanwhile what became of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TypeGuard

import structlog
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import Clock
from cashup.errors import CashUpError, ExchangeError, NotFound
from cashup.exchanges.base import Exchange
from cashup.orders.patience import Patience
from cashup.orders.record import Record
from cashup.orders.state import Event
from cashup.orders.tables import countdowns
from cashup.storage.database import transaction
from cashup.trading.halts import Halts, Scope, TradingState
from cashup.types import Millis, OrderReport, OrderState, OrderType, TimeInForce
from cashup.users.tables import accounts

log = structlog.get_logger()

COUNTDOWN = "countdown"
"""The code of the halt that stands while the switch may have gone off."""

REASON = "cancelled by the venue's countdown"

_FAILURES = 3
_SELDOM: Millis = 15_000
"""How long at most it goes without being started anew."""
_REMEMBERED = 4
"""How many of its last times are tried to explain a cancellation that is read later."""
_EARLY: Millis = 1_000
_LATE: Millis = 3_000
"""How far from the time at which it goes off a cancellation of the venue may lie to be its work."""

_RESTS = frozenset({TimeInForce.GTC, TimeInForce.POST_ONLY})


VENUES = frozenset({"gate"})
"""The venues that have such a switch."""


class Countdown:
    """The switch of one account.

    `resting` says whether an order of ours may rest; `reread` has the orders read again, and `current` says whether
    that has happened.
    """

    def __init__(
        self,
        account: str,
        exchange: Exchange,
        database: AsyncEngine,
        halts: Halts,
        clock: Clock,
        patience: Patience,
        *,
        resting: Callable[[], bool],
        reread: Callable[[], None],
        current: Callable[[], bool],
    ) -> None:
        self._account = account
        self._exchange = exchange
        self._database = database
        self._halts = halts
        self._clock = clock
        self._patience = patience
        self._resting = resting
        self._reread = reread
        self._current = current
        self._dues: deque[Millis] = deque(maxlen=_REMEMBERED)
        self._seconds = patience.countdown
        self._every = patience.refresh
        self._armed = False
        self._missing = False
        self._failures = 0
        self._suspect = False
        self._rereading = False
        self._called = asyncio.Event()

    def wake(self) -> None:
        """An order was sent: do not wait with arming it."""
        if not self._armed and self._seconds > 0:
            self._called.set()

    async def load(self) -> None:
        """Read what an earlier process has left: it may be armed, or have gone off."""
        query = select(countdowns.c.due).where(countdowns.c.account == self._account)
        async with self._database.connect() as connection:
            due = (await connection.execute(query)).scalar_one_or_none() or 0
        await self._read()
        self._dues.append(due)
        self._armed = due > self._clock.now()
        self._suspect = await self._halts.of_account(self._account, COUNTDOWN) is not None

    def explain(self, facts: Sequence[Event]) -> list[Event]:
        """`facts` with the countdown as the reason of what the venue cancelled when it went off. Only the reason."""
        return [fact if not self._is_mine(fact) else replace(fact, reason=REASON) for fact in facts]

    async def run(self) -> None:
        """Keep it alive until cancelled; then it is called off if nothing rests, and else left to go off.

        On a venue that has none it ends when that is found out.
        """
        try:
            while not self._missing:
                self._called.clear()
                try:
                    await self._refresh()
                except (SQLAlchemyError, OSError, CashUpError) as error:
                    log.warning("the countdown could not be looked after", account=self._account, error=str(error))
                with suppress(TimeoutError):
                    soon = self._patience.retry if self._suspect else self._every
                    async with asyncio.timeout(min(soon, self._every) / 1000):
                        await self._called.wait()
        finally:
            if self._armed and not self._resting():
                with suppress(ExchangeError, SQLAlchemyError, OSError):
                    await self._arm(0)

    async def _read(self) -> None:
        """What is set for the account now; the patience of the engine for one that is not in the table."""
        query = select(accounts.c.countdown).where(accounts.c.name == self._account)
        async with self._database.connect() as connection:
            found = (await connection.execute(query)).scalar_one_or_none()
        if found is not None:
            self._seconds, self._every = found, min(found * 1000 // 3 or _SELDOM, _SELDOM)

    async def _refresh(self) -> None:
        resting = self._resting()
        if resting or self._armed:
            await self._read()
        resting = resting and self._seconds > 0
        if not resting and not self._armed:
            await self._recover()
            return
        try:
            await self._arm(self._seconds if resting else 0)
        except ExchangeError as error:
            self._failures += 1
            log.warning("the countdown was not refreshed", account=self._account, error=str(error))
            if self._failures == _FAILURES and resting:
                await self._distrust()
        else:
            self._failures = 0
            await self._recover()

    async def _arm(self, seconds: int) -> None:
        """Start it anew, or call it off with 0. When it will go off is committed before the venue is asked."""
        if seconds:
            await self._write_down(self._clock.now() + seconds * 1000)
        due = await self._exchange.arm_countdown(seconds)
        if self._dues and self._clock.now() < self._dues[-1]:
            self._dues.pop()  # it was started anew before it went off
        self._missing = due is None and seconds > 0
        self._armed = seconds > 0 and not self._missing
        if due is not None:
            self._dues.append(due)
        if not self._armed:
            await self._write_down(0)

    async def _write_down(self, due: Millis) -> None:
        added = insert(countdowns).values(account=self._account, due=due)
        changed = added.on_conflict_do_update(index_elements=["account"], set_={"due": due})
        async with transaction(self._database) as connection:
            await connection.execute(changed)

    def _is_mine(self, fact: Event) -> TypeGuard[OrderReport]:
        return any(is_work_of(fact, due) for due in self._dues)

    async def _distrust(self) -> None:
        """What rests may be cancelled by now, or soon."""
        self._suspect, self._rereading = True, False
        reason = f"the venue's countdown was not refreshed {_FAILURES} times; open orders may be cancelled"
        halted = (Scope.ACCOUNT, self._account, COUNTDOWN, TradingState.REDUCING, reason)
        await self._halts.latch(*halted, by="system")

    async def _recover(self) -> None:
        """The venue answers again: read the orders, and only then go on as before."""
        if not self._suspect:
            return
        if not self._rereading:
            self._rereading = True
            self._reread()
        elif self._current():
            with suppress(NotFound):
                await self._halts.lift(Scope.ACCOUNT, self._account, COUNTDOWN, by="system")
            self._suspect = self._rereading = False


def may_rest(records: Iterable[Record]) -> bool:
    """True when one of the orders rests on the venue, or may."""
    return any(
        record.order.type is OrderType.LIMIT
        and record.order.time_in_force in _RESTS
        and record.state is not OrderState.PENDING_SEND
        and not record.state.terminal
        for record in records
    )


def is_work_of(fact: Event, due: Millis) -> bool:
    """True for an order that the venue cancelled around that time."""
    if not isinstance(fact, OrderReport) or not fact.done or fact.reason != "cancelled":
        return False
    return due - _EARLY <= fact.updated_at <= due + _LATE
