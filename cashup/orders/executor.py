"""The executor: exactly one socket write per claimed order, and an answer for whatever became of it."""

from __future__ import annotations

from dataclasses import replace

import structlog

from cashup.clock import Clock
from cashup.exchanges.base import Exchange
from cashup.types import OrderRequest, ResultClass, SendResult, Wire

log = structlog.get_logger()


async def send(exchange: Exchange, request: OrderRequest, clock: Clock) -> SendResult:
    """Write a claimed order to the venue. Called once per client order id, ever; never raises for what happens there.

    The claim is committed before, so whatever goes wrong here leaves an order whose fate must be found out.
    """
    sent_at = clock.now()
    try:
        result = await exchange.place(request)
    except Exception as error:
        log.exception("placing an order raised", client_order_id=request.client_order_id)
        result = SendResult(ResultClass.UNKNOWN, message=f"{type(error).__name__}: {error}")
    return replace(result, wire=replace(result.wire or Wire(), sent_at=sent_at, answered_at=clock.now()))
