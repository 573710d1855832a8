"""What goes on beside the turns of an account: writing orders to the venue, and finding out what became of them.

Each errand ends in news. An errand that fails is not lost: the order's state in the tables says what must be done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import structlog

from cashup.clock import Clock
from cashup.errors import ExchangeError
from cashup.exchanges.base import Exchange
from cashup.orders.executor import amend, cancel, send
from cashup.orders.patience import Patience
from cashup.orders.record import Record
from cashup.orders.resolver import Absent, resolve, scan
from cashup.orders.state import AmendAnswered, AmendLapsed, CancelAnswered, CancelRefused, ProvenAbsent
from cashup.trading.mailbox import News
from cashup.types import Millis, OrderReport, OrderRequest, OrderState, ResultClass, SendResult, Trade

log = structlog.get_logger()

_LONGEST_PAUSE = 5.0
_AGAIN: Millis = 100
_REFUSALS = 5
"""So often a venue may refuse a cancel before nobody asks any more."""

_AROUND = 60_000


class Errands:
    """The errands of one account. `tell` takes their news."""

    def __init__(self, exchange: Exchange, clock: Clock, patience: Patience, tell: Callable[[News], None]) -> None:
        self._exchange = exchange
        self._clock = clock
        self._patience = patience
        self._tell = tell
        self._writes: dict[str, asyncio.Task[None]] = {}
        self._searches: dict[str, asyncio.Task[None]] = {}
        self._tries: dict[str, int] = {}

    def send(self, request: OrderRequest) -> None:
        """Write a claimed order, once."""
        self._write(f"send {request.client_order_id}", self._send(request))

    def amend(self, record: Record) -> None:
        """Write a claimed amendment, once."""
        self._write(f"amend {record.id}", self._amend(record))

    def follow(self, records: Iterable[Record]) -> None:
        """Do what these orders, all that are not settled, need and nobody does; one look or cancel is one errand."""
        known = {record.id: record for record in records}
        self._tries = {name: tries for name, tries in self._tries.items() if name.rpartition(" ")[2] in known}
        for record in known.values():
            if record.state is OrderState.UNKNOWN:
                self._search("resolve", record, self._resolve)
            elif record.order.missing > 0:
                self._search("trades of", record, self._fetch_trades)
            if record.state is OrderState.PENDING_CANCEL:
                self._search("cancel", record, self._cancel)
            elif record.amend_before is not None and f"amend {record.id}" not in self._writes:
                self._search("read", record, self._settle_amendment)

    async def end_searches(self) -> None:
        """Stop searching; what is being written to the venue goes on."""
        await _cancel(self._searches.values())
        self._tries.clear()

    async def close(self, seconds: float = 5.0) -> None:
        """Wait for answers from the venue, then stop."""
        await self.end_searches()
        if self._writes:
            await asyncio.wait(list(self._writes.values()), timeout=seconds)
        await _cancel(self._writes.values())

    def _write(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = self._writes[name] = asyncio.create_task(work, name=name)
        task.add_done_callback(lambda _: self._writes.pop(name, None))

    def _search(self, verb: str, record: Record, work: Callable[[Record, str], Coroutine[Any, Any, None]]) -> None:
        name = f"{verb} {record.id}"
        if name in self._searches:
            return
        task = self._searches[name] = asyncio.create_task(work(record, name), name=name)
        task.add_done_callback(lambda _: self._searches.pop(name, None))

    async def _pause(self, name: str, first: Millis) -> int:
        """Wait before the next try of this errand, longer each time; how often it was tried."""
        tries = self._tries.get(name, 0)
        self._tries[name] = tries + 1
        await asyncio.sleep(min(first / 1000 * 2.0 ** min(tries, 20), _LONGEST_PAUSE))
        return tries

    async def _send(self, request: OrderRequest) -> None:
        result = await send(self._exchange, request, self._clock)
        self._tell(News([result], order=request.client_order_id, cause="answer"))

    async def _amend(self, record: Record) -> None:
        terms, before = record.order.amending, record.amend_before
        if terms is None or before is None:
            return
        result = await amend(self._exchange, record.order.symbol, record.name_at_venue, terms, before, self._clock)
        self._tell(News([AmendAnswered(result)], order=record.id, cause="answer"))

    async def _cancel(self, record: Record, name: str) -> None:
        """Ask the venue for the order's end, and then for the order when the answer does not show it ended."""
        tries = await self._pause(name, _AGAIN) if name in self._tries else self._tries.setdefault(name, 0)
        result = await self._ask_to_cancel(record)
        if result.result is ResultClass.REFUSED and tries >= _REFUSALS:
            self._tell(News([CancelRefused(result.message or result.label)], order=record.id, cause="answer"))
        elif result.report is None or not result.report.done:
            await self._look(record)

    async def _ask_to_cancel(self, record: Record) -> SendResult:
        before = self._clock.now() + self._patience.fence
        result = await cancel(self._exchange, record.order.symbol, record.name_at_venue, before, self._clock)
        self._tell(News([CancelAnswered(result)], order=record.id, cause="answer"))
        return result

    async def _settle_amendment(self, record: Record, name: str) -> None:
        """The answer to an amendment was lost: the order tells its terms; old ones count once the fence has passed."""
        before = record.amend_before or 0
        await self._pause(name, _AGAIN)
        if record.order.amending is None:
            return
        looked_at, apart = self._clock.now(), self._exchange.apart()
        shown = await self._look(record)
        if shown and not apart and looked_at > before + self._patience.margin:
            self._tell(News([AmendLapsed()], order=record.id, actor="resolver", cause="search"))

    async def _look(self, record: Record) -> bool:
        """Read the order and tell what the venue shows; False when it could not be read, or shows nothing."""
        order = record.order
        try:
            report = None
            if order.exchange_order_id is not None:
                report = await self._exchange.fetch_order(order.symbol, order.exchange_order_id)
            found = None if report is not None else await scan(self._exchange, record, self._clock.now())
        except ExchangeError as error:
            log.warning("an order could not be read", client_order_id=record.id, error=str(error))
            return False
        facts: list[OrderReport | Trade] = [] if report is None else [report]
        if found is not None:
            facts += [*found.trades, *found.reports]
        if facts:
            self._tell(News(facts, order=record.id, cause="search"))
        return bool(facts)

    async def _resolve(self, record: Record, name: str) -> None:
        if record.order.cancelling:  # it may rest, so its end is asked for by our id; a "no such order" proves nothing
            result = await self._ask_to_cancel(record)
            if result.report is not None:
                return
        found = await resolve(self._exchange, record, self._clock, self._patience)
        if isinstance(found, Absent):
            log.warning("an order was never placed", client_order_id=record.id, evidence=found.evidence)
            self._tell(News([ProvenAbsent()], record.id, evidence=found.evidence, actor="resolver", cause="proof"))
        else:
            self._tell(News([*found.trades, *found.reports], order=record.id, cause="search"))

    async def _fetch_trades(self, record: Record, name: str) -> None:
        """Read the trades that the venue says there are; as long as some are missing there is a next time."""
        await self._pause(name, self._patience.trades)
        if record.order.missing <= 0:
            return
        since = (record.claimed_at or record.created_at) - _AROUND
        try:
            trades = await self._exchange.trades(record.order.symbol, since)
        except ExchangeError as error:
            log.warning("trades could not be read", client_order_id=record.id, error=str(error))
            return
        ours = [trade for trade in trades if trade.exchange_order_id == record.order.exchange_order_id]
        if ours:
            self._tell(News(ours, order=record.id, cause="search"))


async def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    waiting = list(tasks)
    for task in waiting:
        task.cancel()
    if waiting:
        await asyncio.wait(waiting)
