"""What proves that an order was never placed, and what does not."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pytest

from cashup.clock import WallClock
from cashup.errors import ExchangeTransient
from cashup.exchanges.paper import PaperExchange
from cashup.exchanges.paper_venue import PaperAccount, PaperVenue
from cashup.orders.patience import Patience
from cashup.orders.record import Record
from cashup.orders.resolver import Absent, Found, resolve
from cashup.orders.state import Order
from cashup.types import Millis, OrderReport, OrderRequest, OrderType, Side, Symbol
from tests.integration.trading.conftest import BTC

NOW = WallClock()
PATIENCE = Patience(fence=0, margin=60, apart=40)


class ScriptedExchange(PaperExchange):
    """Answers each look at the finished orders as the script says: `True` works, `False` fails. `clocks` says at which
    of them the venue's clock and ours agree."""

    script: Sequence[bool] = ()
    clocks: Sequence[bool] = ()
    looks: list[tuple[Millis, bool]]

    def apart(self) -> float:
        agree = self.clocks[len(self.looks)] if len(self.looks) < len(self.clocks) else True
        return 0.0 if agree else 0.01

    async def find_order(self, symbol: Symbol, client_order_id: str) -> OrderReport | None:
        return None

    async def finished_orders(self, symbol: Symbol, since: Millis, until: Millis) -> Sequence[OrderReport]:
        works = self.script[len(self.looks)] if len(self.looks) < len(self.script) else True
        self.looks.append((NOW.now(), works))
        if not works:
            raise ExchangeTransient("502")
        return await super().finished_orders(symbol, since, until)


@pytest.fixture
def exchange(venue: PaperVenue, paper_account: PaperAccount) -> ScriptedExchange:
    exchange = ScriptedExchange(venue, paper_account)
    exchange.looks = []
    return exchange


def sent(request: OrderRequest) -> Record:
    """The record of an order that was claimed a moment ago."""
    now = NOW.now()
    record = Record(Order.of(request), "main", "demo", "1", 1, "USDT", Decimal(5000), {}, now, now)
    record.claimed_at = record.send_before = now
    return record


def buy() -> OrderRequest:
    return OrderRequest("t-" + "0" * 26, BTC, Side.BUY, OrderType.MARKET, cost=Decimal(5000))


async def test_absence_takes_two_complete_scans_after_the_fence(exchange: ScriptedExchange) -> None:
    record = sent(buy())
    proof = await resolve(exchange, record, NOW, PATIENCE)
    assert isinstance(proof, Absent)
    first, second = proof.evidence["scans"]
    assert record.send_before is not None
    assert first >= record.send_before + PATIENCE.margin
    assert second - first >= PATIENCE.apart


async def test_a_scan_while_the_clocks_are_apart_starts_the_count_anew(exchange: ScriptedExchange) -> None:
    """The venue may still take the order when our clock says that its fence has passed."""
    record = sent(buy())
    record.send_before = 0
    exchange.clocks = [True, False, False, True, True]
    proof = await resolve(exchange, record, NOW, PATIENCE)
    assert isinstance(proof, Absent)
    assert len(exchange.looks) == 5
    assert proof.evidence["scans"][0] >= exchange.looks[2][0]


async def test_an_incomplete_scan_starts_the_count_anew(exchange: ScriptedExchange) -> None:
    record = sent(buy())
    record.send_before = 0  # the fence has long passed: every complete scan counts
    exchange.script = [True, False, True, False, True, True]
    proof = await resolve(exchange, record, NOW, PATIENCE)
    assert isinstance(proof, Absent)
    assert [works for _, works in exchange.looks] == [True, False, True, False, True, True]
    assert proof.evidence["scans"][0] >= exchange.looks[3][0]


async def test_a_trace_counts_at_once(exchange: ScriptedExchange) -> None:
    record = sent(buy())
    await exchange.place(record.request())
    found = await resolve(exchange, record, NOW, Patience(fence=60_000, margin=60_000))
    assert isinstance(found, Found)
    assert [report.client_order_id for report in found.reports] == [record.id]
    assert [trade.quantity for trade in found.trades] == [Decimal("0.1")]


async def test_others_orders_are_no_trace(exchange: ScriptedExchange) -> None:
    await exchange.place(OrderRequest("t-" + "1" * 26, BTC, Side.BUY, OrderType.MARKET, cost=Decimal(5000)))
    assert isinstance(await resolve(exchange, sent(buy()), NOW, PATIENCE), Absent)
