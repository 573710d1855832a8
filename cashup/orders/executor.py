"""The executor: exactly one socket write per claimed order, and an answer for whatever became of it."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace

import structlog

from cashup.clock import Clock
from cashup.exchanges.base import Exchange
from cashup.orders.state import Terms
from cashup.types import Millis, OrderRequest, ResultClass, SendResult, Symbol, Wire

log = structlog.get_logger()


async def send(exchange: Exchange, request: OrderRequest, clock: Clock) -> SendResult:
    """Write a claimed order to the venue. Called once per client order id, ever; never raises for what happens there.

    The claim is committed before, so whatever goes wrong here leaves an order whose fate must be found out.
    """
    result = await _written(exchange.place(request), request.client_order_id, clock)
    if result.result is ResultClass.UNKNOWN and result.label:
        log.error("the venue's label proves nothing", order=request.client_order_id, label=result.label)
    return result


async def cancel(exchange: Exchange, symbol: Symbol, order_id: str, expires_at: Millis, clock: Clock) -> SendResult:
    """Write a cancel, by the venue's id or ours. It may be written again; never raises for what happens there."""
    return await _written(exchange.cancel(symbol, order_id, expires_at=expires_at), order_id, clock)


async def amend(
    exchange: Exchange, symbol: Symbol, order_id: str, terms: Terms, expires_at: Millis, clock: Clock
) -> SendResult:
    """Write a claimed amendment, once; never raises for what happens there."""
    asked = exchange.amend(symbol, order_id, quantity=terms.quantity, price=terms.price, expires_at=expires_at)
    return await _written(asked, order_id, clock)


async def _written(asked: Awaitable[SendResult], order_id: str, clock: Clock) -> SendResult:
    """What came of a request, with its times; UNKNOWN when the adapter broke."""
    sent_at = clock.now()
    try:
        result = await asked
    except Exception as error:
        log.exception("a request about an order raised", order=order_id)
        result = SendResult(ResultClass.UNKNOWN, message=f"{type(error).__name__}: {error}")
    return replace(result, wire=replace(result.wire or Wire(), sent_at=sent_at, answered_at=clock.now()))
