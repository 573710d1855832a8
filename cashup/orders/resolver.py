"""The resolver: finds out what became of an order, and never concludes absence without proof.

A trace on the venue counts at once. Absence counts only when the fence has passed, so that the venue would refuse the
order if it still arrived, and then two complete scans in a row, some seconds apart, find nothing. A scan of which one
part failed proves nothing and starts the count anew, and so does one while our clock and the venue's are apart: nobody
knows then whether the fence has passed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from cashup.clock import Clock
from cashup.errors import ExchangeError
from cashup.exchanges.base import Exchange
from cashup.orders.patience import Patience
from cashup.orders.record import Record
from cashup.types import Millis, OrderReport, Trade

log = structlog.get_logger()

ALARM: Millis = 60_000
"""After this time an operator should look."""

_AROUND: Millis = 60_000
_EAGER: Millis = 500
"""The pause between scans that look for a trace while absence cannot be proven yet."""


@dataclass(frozen=True, slots=True)
class Found:
    """The venue's traces of the order: what it says of it, and its trades."""

    reports: Sequence[OrderReport]
    trades: Sequence[Trade]


@dataclass(frozen=True, slots=True)
class Absent:
    """The proof that the venue never had the order: when each scan was made and what it covered."""

    evidence: dict[str, Any] = field(default_factory=dict)


async def resolve(exchange: Exchange, record: Record, clock: Clock, patience: Patience) -> Found | Absent:
    """Scan until the order is found or its absence is proven. Takes as long as it takes; cancel it to stop.

    Read errors are waited out, so it ends neither way while the venue cannot be read.
    """
    claimed = record.claimed_at if record.claimed_at is not None else record.created_at
    dead = (record.send_before if record.send_before is not None else claimed) + patience.margin
    scans: list[Millis] = []
    alarmed = False
    while True:
        began, apart = clock.now(), exchange.apart()
        if began - claimed > ALARM and not alarmed:
            alarmed = True
            log.error("an order's fate is unknown for a minute", client_order_id=record.id, symbol=record.order.symbol)
        try:
            found = await scan(exchange, record, began)
        except ExchangeError as error:
            log.warning("a scan was incomplete", client_order_id=record.id, error=str(error))
            scans.clear()
        else:
            if found is not None:
                return found
            if apart:
                scans.clear()
            elif began >= dead and (not scans or began - scans[-1] >= patience.apart):
                scans.append(began)
        if len(scans) >= 2:
            return Absent({"fence": record.send_before, "scans": scans, "looked": list(_LOOKED)})
        await asyncio.sleep(_pause(clock.now(), dead, scans, patience) / 1000)


_LOOKED = ("lookup by client id", "open orders", "finished orders", "trades")


async def scan(exchange: Exchange, record: Record, now: Millis) -> Found | None:
    """One complete look for traces of the order; None when there is none. Raises ExchangeError when a part fails."""
    symbol = record.order.symbol
    since = (record.claimed_at if record.claimed_at is not None else record.created_at) - _AROUND
    reports: list[OrderReport] = []
    by_id = await exchange.find_order(symbol, record.id)
    if by_id is not None:
        reports.append(by_id)
    reports += [report for report in await exchange.open_orders() if _about(report, record)]
    finished = await exchange.finished_orders(symbol, since, now + _AROUND)
    reports += [report for report in finished if _about(report, record)]
    known = {report.exchange_order_id for report in reports} | {record.order.exchange_order_id} - {None}
    trades = [
        trade
        for trade in await exchange.trades(symbol, since)
        if trade.client_order_id == record.id or trade.exchange_order_id in known
    ]
    return Found(reports, trades) if reports or trades else None


def _about(report: OrderReport, record: Record) -> bool:
    if report.client_order_id is not None:
        return report.client_order_id == record.id
    return report.exchange_order_id == record.order.exchange_order_id


def _pause(now: Millis, dead: Millis, scans: Sequence[Millis], patience: Patience) -> Millis:
    """How long to wait before the next scan."""
    if now < dead:
        return min(_EAGER, dead - now)
    return max(scans[-1] + patience.apart - now, 0) if scans else _EAGER
