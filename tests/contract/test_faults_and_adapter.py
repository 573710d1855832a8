"""Each fault of a placement, seen through our Gate adapter: which result class it falls into, with one write only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from cashup.exchanges.gate import Credentials, GateExchange
from cashup.simulator.server import Simulator
from cashup.types import OrderRequest, OrderType, ResultClass, Side, Symbol

BTC = Symbol("BTC/USDT")
UNKNOWN, REFUSED, ENDED, ACCEPTED = (
    ResultClass.UNKNOWN,
    ResultClass.REFUSED,
    ResultClass.ENDED_AT_ENTRY,
    ResultClass.ACCEPTED,
)


@pytest.fixture
async def exchange(simulator: Simulator) -> AsyncIterator[GateExchange]:
    account = simulator.venue.accounts.create("main", {"USDT": Decimal(1000), "BTC": Decimal(2)})
    exchange = GateExchange(Credentials(account.key, account.secret), base_url=simulator.url, timeout=2)
    await exchange.markets()
    yield exchange
    await exchange.close()


@pytest.mark.parametrize(
    ("kind", "settings", "expected", "orders"),
    [
        ("error_before", {"status": 500}, UNKNOWN, 0),
        ("error_after", {"status": 504}, UNKNOWN, 1),
        ("error_before", {"status": 400, "label": "TOO_BUSY"}, UNKNOWN, 0),
        ("strange_label", {}, UNKNOWN, 0),
        ("strange_label", {"done": True}, UNKNOWN, 1),
        ("strange_label", {"label": "BALANCE_NOT_ENOUGH"}, REFUSED, 0),
        ("accepted_only", {}, UNKNOWN, 1),
        ("lost_effect", {}, UNKNOWN, 0),
        ("too_many", {}, REFUSED, 0),
        ("lost_request", {}, UNKNOWN, 0),
        ("lost_request", {"reset": True}, UNKNOWN, 0),
        ("lost_answer", {}, UNKNOWN, 1),
        ("lost_answer", {"reset": True}, UNKNOWN, 1),
        ("no_answer", {}, UNKNOWN, 1),
        ("truncated_answer", {}, UNKNOWN, 1),
        ("unreadable_answer", {}, UNKNOWN, 1),
        ("wall_before", {"status": 400}, UNKNOWN, 0),
        ("wall_before", {"status": 403}, UNKNOWN, 0),
        ("wall_before", {"status": 404}, UNKNOWN, 0),
        ("wall_after", {"status": 502}, UNKNOWN, 1),
        ("self_trade_prevented", {}, ENDED, 1),
        ("frame_first", {}, ACCEPTED, 1),
        ("maintenance", {}, UNKNOWN, 0),
        ("clock_skew", {"milliseconds": 61_000}, REFUSED, 0),
        ("market_halt", {"pair": "BTC_USDT"}, REFUSED, 0),
    ],
)
async def test_a_fault_has_its_class(
    simulator: Simulator,
    exchange: GateExchange,
    kind: str,
    settings: dict[str, Any],
    expected: ResultClass,
    orders: int,
) -> None:
    simulator.faults.set(kind, **settings)
    sent = await exchange.place(
        OrderRequest("t-" + "0" * 26, BTC, Side.SELL, OrderType.MARKET, quantity=Decimal("0.5"))
    )
    assert (sent.result, len(simulator.venue.orders)) == (expected, orders)
    assert len(simulator.register.writes) == 1
