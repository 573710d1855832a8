"""Matching: price before time, nothing made or lost, fees where the venue takes them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cashup.exchanges.matching import Fill, Matcher, MatchOrder, fee_of, quantity_for
from cashup.exchanges.rules import gate_market, ideal_market
from cashup.types import OrderType, Side, TimeInForce

D = Decimal
GATE = gate_market("ETH/USDT")


def limit(number: str, side: Side, quantity: str, price: str, tif: TimeInForce = TimeInForce.GTC) -> MatchOrder:
    return MatchOrder(number, side, OrderType.LIMIT, tif, quantity=D(quantity), price=D(price))


def market(number: str, side: Side, *, quantity: str | None = None, cost: str | None = None) -> MatchOrder:
    how: dict[str, Any] = {"quantity": D(quantity)} if quantity else {"cost": D(cost or "0")}
    return MatchOrder(number, side, OrderType.MARKET, TimeInForce.IOC, **how)


def at(price: str, liquidity: str | None = None) -> Matcher:
    matcher = Matcher(GATE)
    matcher.move(D(price), D(liquidity) if liquidity else None)
    return matcher


def shape(fills: list[Fill]) -> list[tuple[str, Decimal, Decimal, bool]]:
    return [(fill.order_id, fill.price, fill.quantity, fill.maker) for fill in fills]


def test_a_market_buy_gets_the_whole_lots_that_its_cost_pays_for():
    order = market("1", Side.BUY, cost="1000")
    fills = at("3000.01").submit(order)
    assert shape(fills) == [("1", D("3000.01"), D("0.3333"), False)]
    assert (order.done, order.reason) == (True, "filled")
    assert order.left == D("1000") - D("0.3333") * D("3000.01")
    assert (fills[0].fee, fills[0].fee_currency) == (D("0.0003333"), "ETH")


def test_a_market_sell_pays_its_fee_in_quote():
    (fill,) = at("3000").submit(market("1", Side.SELL, quantity="0.5"))
    assert (fill.fee, fill.fee_currency) == (D("1.5"), "USDT")


def test_an_ideal_venue_takes_fees_in_quote_and_has_no_steps():
    ideal = ideal_market("ETH/USDT", D("0.001"))
    assert fee_of(ideal, Side.BUY, D(3), D(10)) == (D("0.03"), "USDT")
    quantity = quantity_for(ideal, D(1), D(3))
    assert abs(quantity * 3 - 1) < D("1e-24")
    assert quantity * 3 <= 1


def test_slippage_is_paid_by_whoever_takes():
    matcher = Matcher(GATE, slippage=D("0.001"))
    matcher.move(D(3000))
    assert matcher.submit(market("1", Side.BUY, cost="100"))[0].price == D("3003.00")
    assert matcher.submit(market("2", Side.SELL, quantity="1"))[0].price == D("2997.00")


def test_resting_orders_fill_by_price_then_time_at_their_own_price():
    matcher = at("100")
    for order in (
        limit("late", Side.BUY, "1", "95"),
        limit("low", Side.BUY, "1", "94"),
        limit("best", Side.BUY, "1", "96"),
        limit("later", Side.BUY, "1", "95"),
    ):
        assert matcher.submit(order) == []
    fills = matcher.move(D("94.5"), D("2.5"))
    assert shape(fills) == [
        ("best", D(96), D(1), True),
        ("late", D(95), D(1), True),
        ("later", D(95), D("0.5"), True),
    ]
    assert [order.id for order in matcher.resting] == ["low", "later"]
    assert shape(matcher.move(D("94.5"))) == [("later", D(95), D("0.5"), True)]


def test_a_taker_meets_resting_orders_before_the_market_behind_them():
    matcher = at("100", "1")
    resting = limit("rest", Side.BUY, "5", "101")
    assert shape(matcher.submit(resting)) == [("rest", D(100), D(1), False)]
    assert resting.left == 4
    seller = market("sell", Side.SELL, quantity="6")
    assert shape(matcher.submit(seller)) == [("sell", D(101), D(4), False), ("rest", D(101), D(4), True)]
    assert (seller.reason, seller.filled) == ("ioc", D(4))


@pytest.mark.parametrize(
    ("tif", "liquidity", "reason", "filled"),
    [
        (TimeInForce.IOC, "2", "ioc", 2),
        (TimeInForce.FOK, "2", "fok", 0),
        (TimeInForce.FOK, "5", "filled", 5),
        (TimeInForce.POST_ONLY, "2", "poc", 0),
        (TimeInForce.GTC, "2", "open", 2),
    ],
)
def test_time_in_force(tif: TimeInForce, liquidity: str, reason: str, filled: int):
    matcher = at("100", liquidity)
    order = limit("1", Side.BUY, "5", "100", tif)
    matcher.submit(order)
    assert (order.reason, order.filled, order.done) == (reason, D(filled), reason != "open")


def test_a_market_order_without_a_market_ends_unfilled():
    order = market("1", Side.SELL, quantity="1")
    assert Matcher(GATE).submit(order) == []
    assert (order.done, order.reason) == (True, "depth_not_enough")


def test_a_cancelled_order_is_out():
    matcher = at("100")
    matcher.submit(limit("1", Side.SELL, "1", "110"))
    cancelled = matcher.cancel("1")
    assert cancelled is not None
    assert (cancelled.done, cancelled.reason) == (True, "cancelled")
    assert matcher.cancel("1") is None
    assert matcher.move(D(120)) == []


LOTS = st.integers(1, 50_000).map(lambda lots: lots * GATE.lot)
TICKS = st.integers(9_000, 11_000).map(lambda ticks: ticks * GATE.tick)


@st.composite
def orders(draw: st.DrawFn) -> MatchOrder:
    side = draw(st.sampled_from(Side))
    if draw(st.booleans()):
        quantity, price = draw(LOTS), draw(TICKS)
        return MatchOrder("", side, OrderType.LIMIT, draw(st.sampled_from(TimeInForce)), quantity=quantity, price=price)
    if side is Side.BUY:
        return MatchOrder("", side, OrderType.MARKET, TimeInForce.IOC, cost=draw(st.integers(1, 90_000)) * GATE.tick)
    return MatchOrder("", side, OrderType.MARKET, TimeInForce.IOC, quantity=draw(LOTS))


@given(st.lists(orders() | st.tuples(TICKS, st.none() | LOTS), max_size=25))
def test_nothing_is_made_or_lost_and_no_order_trades_beyond_its_limit(steps: list[Any]):
    matcher = Matcher(GATE)
    seen: dict[str, MatchOrder] = {}
    filled: dict[str, Decimal] = {}
    spent: dict[str, Decimal] = {}
    for number, step in enumerate(steps):
        if isinstance(step, MatchOrder):
            step.id = str(number)
            seen[step.id] = step
            fills = matcher.submit(step)
        else:
            fills = matcher.move(*step)
        for fill in fills:
            order = seen[fill.order_id]
            assert fill.quantity > 0
            assert fill.quantity % GATE.lot == 0
            assert order.price is None or (
                fill.price <= order.price if fill.side is Side.BUY else fill.price >= order.price
            )
            filled[fill.order_id] = filled.get(fill.order_id, D(0)) + fill.quantity
            spent[fill.order_id] = spent.get(fill.order_id, D(0)) + fill.quantity * fill.price
    for order in seen.values():
        assert order.filled == filled.get(order.id, D(0))
        assert order.spent == spent.get(order.id, D(0))
        assert order.left >= 0
        assert order.done is (matcher.get(order.id) is None)
    assert all(order.left > 0 for order in matcher.resting)
