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
from cashup.orders.executor import send
from cashup.orders.patience import Patience
from cashup.orders.record import Record
from cashup.orders.resolver import Absent, resolve
from cashup.orders.state import ProvenAbsent
from cashup.trading.mailbox import News
from cashup.types import OrderRequest, OrderState

log = structlog.get_logger()

_LONGEST_PAUSE = 5.0
_AROUND = 60_000


class Errands:
    """The errands of one account. `tell` takes their news."""

    def __init__(self, exchange: Exchange, clock: Clock, patience: Patience, tell: Callable[[News], None]) -> None:
        self._exchange = exchange
        self._clock = clock
        self._patience = patience
        self._tell = tell
        self._sends: set[asyncio.Task[None]] = set()
        self._searches: dict[str, asyncio.Task[None]] = {}

    def send(self, request: OrderRequest) -> None:
        """Write a claimed order, once."""
        task = asyncio.create_task(self._send(request), name=f"send {request.client_order_id}")
        self._sends.add(task)
        task.add_done_callback(self._sends.discard)

    def follow(self, records: Iterable[Record]) -> None:
        """Search for whatever is not known of these orders and not being searched for already."""
        for record in records:
            if record.id in self._searches:
                continue
            if record.state is OrderState.UNKNOWN:
                self._search(record, self._resolve(record))
            elif record.order.missing > 0:
                self._search(record, self._fetch_trades(record))

    async def end_searches(self) -> None:
        """Stop searching; what is being written to the venue goes on."""
        await _cancel(self._searches.values())

    async def close(self, seconds: float = 5.0) -> None:
        """Wait for answers from the venue, then stop."""
        await self.end_searches()
        if self._sends:
            await asyncio.wait(list(self._sends), timeout=seconds)
        await _cancel(self._sends)

    def _search(self, record: Record, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"search {record.id}")
        self._searches[record.id] = task
        task.add_done_callback(lambda _: self._searches.pop(record.id, None))

    async def _send(self, request: OrderRequest) -> None:
        result = await send(self._exchange, request, self._clock)
        self._tell(News([result], order=request.client_order_id, cause="answer"))

    async def _resolve(self, record: Record) -> None:
        found = await resolve(self._exchange, record, self._clock, self._patience)
        if isinstance(found, Absent):
            log.warning("an order was never placed", client_order_id=record.id, evidence=found.evidence)
            self._tell(News([ProvenAbsent()], record.id, evidence=found.evidence, actor="resolver", cause="proof"))
        else:
            self._tell(News([*found.trades, *found.reports], order=record.id, cause="search"))

    async def _fetch_trades(self, record: Record) -> None:
        """Read the trades that the venue says there are, until all of them are there."""
        pause = self._patience.trades / 1000
        while True:
            await asyncio.sleep(pause)
            if record.order.missing <= 0:
                return
            since = (record.claimed_at or record.created_at) - _AROUND
            try:
                trades = await self._exchange.trades(record.order.symbol, since)
            except ExchangeError as error:
                log.warning("trades could not be read", client_order_id=record.id, error=str(error))
            else:
                ours = [trade for trade in trades if trade.exchange_order_id == record.order.exchange_order_id]
                if ours:
                    self._tell(News(ours, order=record.id, cause="search"))
            pause = min(pause * 2, _LONGEST_PAUSE)


async def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    waiting = list(tasks)
    for task in waiting:
        task.cancel()
    if waiting:
        await asyncio.wait(waiting)
