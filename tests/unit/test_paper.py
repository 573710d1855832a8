"""The paper venue: refusals, balances that add up, frames that say what happened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cashup.clock import VirtualClock
from cashup.errors import ExchangeRefused, IntegrityError
from cashup.exchanges.base import Connected
from cashup.exchanges.paper import PaperExchange
from cashup.exchanges.paper_venue import PaperVenue
from cashup.exchanges.rules import gate_market
from cashup.orders.state import Claimed, Order, apply
from cashup.types import (
    Balance,
    Candle,
    Frame,
    OrderReport,
    OrderRequest,
    OrderState,
    OrderType,
    ResultClass,
    Side,
    Symbol,
    TimeInForce,
    Trade,
)

D = Decimal
ETH = Symbol("ETH/USDT")


def a_venue(price: str = "3000") -> PaperVenue:
    venue = PaperVenue([gate_market(ETH)], VirtualClock(1_000))
    venue.move(ETH, D(price))
    return venue


def an_exchange(**balances: str) -> PaperExchange:
    venue = a_venue()
    return PaperExchange(venue, venue.open_account({asset: D(amount) for asset, amount in balances.items()}))


def request(number: str = "1", **how: Any) -> OrderRequest:
    how = {"side": Side.BUY, "type": OrderType.MARKET} | how
    money = {name: D(how.pop(name)) for name in ("cost", "quantity", "price") if name in how}
    return OrderRequest(client_order_id=f"t-{number}", symbol=how.pop("symbol", ETH), **money, **how)


async def test_a_market_buy_is_accepted_filled_and_paid():
    exchange = an_exchange(USDT="1000")
    result = await exchange.place(request(cost="1000"))
    assert result.result is ResultClass.ACCEPTED
    assert result.report is not None
    assert (result.report.filled, result.report.done, result.report.reason) == (D("0.3333"), True, "filled")
    balances = await exchange.balances()
    assert balances == {"USDT": Balance(D("0.1")), "ETH": Balance(D("0.3333") - D("0.0003333"))}
    (trade,) = await exchange.trades(ETH, 0)
    assert (trade.client_order_id, trade.price, trade.time) == ("t-1", D(3000), 1_000)


@pytest.mark.parametrize(
    ("how", "label"),
    [
        ({"cost": "100", "symbol": Symbol("XRP/USDT")}, "INVALID_CURRENCY_PAIR"),
        ({"cost": "100.001"}, "INVALID_PRECISION"),
        ({"quantity": "0.00001", "side": Side.SELL}, "INVALID_PRECISION"),
        ({"cost": "2.99"}, "AMOUNT_TOO_LITTLE"),
        ({"quantity": "0.0001", "side": Side.SELL}, "AMOUNT_TOO_LITTLE"),
        ({"cost": "1000.01"}, "BALANCE_NOT_ENOUGH"),
        ({"quantity": "1", "side": Side.SELL}, "BALANCE_NOT_ENOUGH"),
        ({"cost": "100", "expires_at": 999}, "REQUEST_EXPIRED"),
    ],
)
async def test_what_a_venue_refuses_changes_nothing(how: dict[str, Any], label: str):
    exchange = an_exchange(USDT="1000")
    result = await exchange.place(request(**how))
    assert (result.result, result.label) == (ResultClass.REFUSED, label)
    assert await exchange.balances() == {"USDT": Balance(D(1000))}
    assert exchange.account.reports() == []


async def test_a_resting_order_holds_its_balance_until_it_is_cancelled():
    exchange = an_exchange(USDT="1000")
    placed = request(quantity="0.1", price="2900", type=OrderType.LIMIT, time_in_force=TimeInForce.GTC)
    result = await exchange.place(placed)
    assert result.report is not None
    assert await exchange.balances() == {"USDT": Balance(D(710), D(290))}
    assert await exchange.open_orders() == [result.report]
    assert await exchange.find_order(ETH, "t-1") == result.report
    report = (await exchange.cancel(ETH, result.report.exchange_order_id)).report
    assert report is not None
    assert (report.done, report.reason) == (True, "cancelled")
    assert await exchange.balances() == {"USDT": Balance(D(1000))}
    assert await exchange.finished_orders(ETH, 1_000, 1_000) == [report]
    assert await exchange.open_orders() == []
    assert (await exchange.cancel(ETH, "999")).label == "ORDER_NOT_FOUND"


async def test_an_order_that_ends_at_once_says_so():
    exchange = an_exchange(USDT="1000")
    how = {"quantity": "0.1", "price": "3100", "type": OrderType.LIMIT}
    result = await exchange.place(request(**how, time_in_force=TimeInForce.POST_ONLY))
    assert (result.result, result.message) == (ResultClass.ENDED_AT_ENTRY, "poc")
    order = apply(Order.of(request(**how)), Claimed())
    assert apply(order, result).state is OrderState.CANCELLED


async def test_a_client_id_may_come_twice_and_the_newest_is_found():
    exchange = an_exchange(USDT="1000")
    await exchange.place(request(cost="100"))
    second = await exchange.place(request(cost="200"))
    assert await exchange.find_order(ETH, "t-1") == second.report


async def collect(stream: AsyncIterator[Any], count: int) -> list[Any]:
    return [await anext(stream) for _ in range(count)]


async def test_private_frames_say_what_happened_and_can_be_read_back():
    exchange = an_exchange(USDT="1000")
    stream = exchange.watch_account()
    assert await anext(stream) == Connected()
    result = await exchange.place(request(cost="300"))
    async with asyncio.timeout(5):
        frames = await collect(stream, 2)
    assert [exchange.read_frame(frame) for frame in frames] == [
        list(await exchange.trades(ETH, 0)),
        [result.report],
    ]
    assert frames[0].dedupe_key != frames[1].dedupe_key


@pytest.mark.parametrize(
    "frame", [Frame("weather", "1", {}), Frame("trades", "1", {"id": "1"}), Frame("orders", "1", {"text": None})]
)
def test_a_frame_that_cannot_be_read_is_an_error(frame: Frame):
    with pytest.raises(IntegrityError):
        an_exchange().read_frame(frame)


def a_candle(time: int, close: str, *, closed: bool) -> Candle:
    return Candle(ETH, "1h", time, D(close), D(close), D(close), D(close), D(1), closed)


async def test_candles_are_watched_kept_and_move_the_price():
    exchange = an_exchange(USDT="1000")
    stream = exchange.watch_candles([ETH], "1h")
    assert await anext(stream) == Connected()
    candles = [a_candle(0, "3100", closed=False), a_candle(0, "3200", closed=True), a_candle(1, "3300", closed=False)]
    for candle in candles:
        exchange.venue.publish(candle)
    async with asyncio.timeout(5):
        assert await collect(stream, 3) == candles
    assert await exchange.candles(ETH, "1h", 0) == candles[1:]
    assert await exchange.candles(ETH, "1h", 1) == candles[2:]
    await exchange.place(request(cost="330"))
    assert (await exchange.trades(ETH, 0))[0].price == 3300


async def test_the_public_side_has_no_account():
    exchange = PaperExchange(a_venue())
    assert ETH in await exchange.markets()
    with pytest.raises(ExchangeRefused):
        await exchange.balances()
    with pytest.raises(ExchangeRefused):
        await exchange.candles(Symbol("XRP/USDT"), "1h", 0)


@st.composite
def requests(draw: st.DrawFn) -> OrderRequest:
    side = draw(st.sampled_from(Side))
    quantity = draw(st.integers(1, 20_000)) * D("0.0001")
    if draw(st.booleans()):
        how: dict[str, Any] = {"quantity": quantity, "price": draw(st.integers(290_000, 310_000)) * D("0.01")}
        return request(side=side, type=OrderType.LIMIT, time_in_force=draw(st.sampled_from(TimeInForce)), **how)
    return (
        request(cost=draw(st.integers(300, 500_000)) * D("0.01"))
        if side is Side.BUY
        else request(quantity=quantity, side=side)
    )


STEPS = st.lists(
    st.tuples(st.integers(0, 1), requests())
    | st.tuples(st.integers(290_000, 310_000).map(lambda t: t * D("0.01")), st.none() | st.just(D("0.5")))
    | st.integers(1, 8).map(str),
    max_size=20,
)


@given(STEPS)
def test_balances_always_add_up(steps: list[Any]):
    venue = a_venue()
    accounts = [venue.open_account({"USDT": D(5000), "ETH": D(1)}) for _ in range(2)]
    orders: list[dict[str, Order]] = [{}, {}]
    for step in steps:
        if isinstance(step, str):
            for account in accounts:
                account.cancel(ETH, step)
        elif isinstance(step[1], OrderRequest):
            accounts[step[0]].place(step[1])
        else:
            venue.move(ETH, *step)
        for account, known in zip(accounts, orders, strict=True):
            expected = {"USDT": D(5000), "ETH": D(1)}
            for trade in account.trades:
                sign = 1 if trade.side is Side.BUY else -1
                expected["ETH"] += sign * trade.quantity
                expected["USDT"] -= sign * trade.quantity * trade.price
                expected[trade.fee_currency] -= trade.fee
            assert {asset: balance.total for asset, balance in account.balances.items()} == expected
            assert all(b.available >= 0 and b.reserved >= 0 for b in account.balances.values())
            reports = account.reports()
            assert any(not r.done for r in reports) or all(b.reserved == 0 for b in account.balances.values())
            follow(known, account.trades, reports)
    assert all(order.missing == 0 for known in orders for order in known.values())


def follow(known: dict[str, Order], trades: list[Trade], reports: list[OrderReport]) -> None:
    """Every report and trade is news that the state machine takes."""
    for report in reports:
        quantity = {"quantity": str(report.quantity)} if report.quantity is not None else {"cost": "3"}
        fresh = Order.of(request("1", side=report.side, **quantity))
        known[report.exchange_order_id] = apply(known.get(report.exchange_order_id, fresh), report)
    for trade in trades:
        known[trade.exchange_order_id] = apply(known[trade.exchange_order_id], trade)
