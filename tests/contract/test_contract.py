"""What every adapter of the exchange port promises, on every venue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest

from cashup.clock import WallClock
from cashup.errors import ExchangeError, ExchangeRefused
from cashup.exchanges.base import Connected
from cashup.exchanges.rules import gate_market
from cashup.types import (
    Balance,
    Candle,
    Frame,
    OrderReport,
    OrderRequest,
    OrderType,
    ResultClass,
    Side,
    Symbol,
    TimeInForce,
    Trade,
)

BTC = Symbol("BTC/USDT")
START = 1_735_689_600_000
HOUR = 3_600_000
ACCEPTED, ENDED, REFUSED = ResultClass.ACCEPTED, ResultClass.ENDED_AT_ENTRY, ResultClass.REFUSED
BUY, SELL = Side.BUY, Side.SELL
D = Decimal


@asynccontextmanager
async def frames(bench: Any) -> AsyncIterator[Callable[[Callable[[list[Any]], bool]], Any]]:
    """Follow the account; call the result with a condition on everything read so far, and wait for it."""
    async with aclosing(bench.exchange.watch_account()) as stream:
        assert isinstance(await anext(stream), Connected)
        said: list[Any] = []

        async def until(enough: Callable[[list[Any]], bool]) -> list[Any]:
            async with asyncio.timeout(10):
                while not enough(said):
                    item = await anext(stream)
                    assert isinstance(item, Frame)
                    said.extend(bench.exchange.read_frame(item))
            return said

        yield until


# -- markets and bars ---------------------------------------------------------------------------------------------


async def test_markets_carry_the_rules(bench: Any) -> None:
    assert await bench.public.markets() == {BTC: gate_market(BTC)}


async def test_candles_are_ordered_and_only_the_last_is_open(bench: Any) -> None:
    candles = await bench.public.candles(BTC, "1h", START - HOUR)
    assert [(c.time, c.close, c.closed) for c in candles] == [(START - HOUR, D(99), True), (START, D(100), False)]
    assert [c.time for c in await bench.public.candles(BTC, "1h", START - 2 * HOUR, 1)] == [START - 2 * HOUR]


async def test_candles_of_the_future_do_not_exist(bench: Any) -> None:
    assert list(await bench.public.candles(BTC, "1h", START + HOUR)) == []


async def test_candles_of_an_unknown_symbol_are_refused(bench: Any) -> None:
    with pytest.raises(ExchangeRefused, match="DOGE/USDT"):
        await bench.public.candles(Symbol("DOGE/USDT"), "1h", START)


async def test_a_watched_bar_closes_once_and_then_the_next_opens(bench: Any) -> None:
    async with aclosing(bench.public.watch_candles([BTC], "1h")) as stream:
        assert isinstance(await anext(stream), Connected)
        await bench.advance()
        await bench.advance()
        seen: list[Candle] = []
        async with asyncio.timeout(10):
            while not seen or seen[-1].time < START + 2 * HOUR:
                item = await anext(stream)
                assert isinstance(item, Candle)
                seen.append(item)
    assert [c.time for c in seen if c.closed] == [START, START + HOUR]
    assert [c.time for c in seen] == sorted(c.time for c in seen)
    opened = [c for c in seen if c.time == START + HOUR and not c.closed]
    assert {c.open for c in opened} == {D(90)}


# -- placing ------------------------------------------------------------------------------------------------------


async def test_a_market_buy_is_given_in_quote_and_filled_in_whole_lots(bench: Any) -> None:
    request = bench.market(BUY, "100.1")
    sent = await bench.exchange.place(request)
    assert sent.result is ACCEPTED
    assert sent.report.client_order_id == request.client_order_id
    assert (sent.report.filled, sent.report.done, sent.report.quantity) == (D("1.001"), True, None)
    assert sent.report.average_price == D(100)
    assert await bench.exchange.balances() == {
        "USDT": Balance(D("899.9")),
        "BTC": Balance(2 + D("1.001") * D("0.999")),
    }


async def test_what_a_market_buy_cannot_spend_stays(bench: Any) -> None:
    await bench.advance()
    sent = await bench.exchange.place(bench.market(BUY, "100"))
    assert sent.report.filled == D("1.11111")
    balances = await bench.exchange.balances()
    assert balances["USDT"] == Balance(1000 - D("1.11111") * 90)


async def test_a_market_sell_is_given_in_base_and_pays_its_fee_in_quote(bench: Any) -> None:
    sent = await bench.exchange.place(bench.market(SELL, "0.5"))
    assert (sent.result, sent.report.filled, sent.report.quantity) == (ACCEPTED, D("0.5"), D("0.5"))
    balances = await bench.exchange.balances()
    assert balances == {"USDT": Balance(1000 + 50 * D("0.999")), "BTC": Balance(D("1.5"))}


async def test_everything_can_be_sold(bench: Any) -> None:
    sent = await bench.exchange.place(bench.market(SELL, "2"))
    assert sent.report.done
    assert "BTC" not in await bench.exchange.balances()


async def test_a_limit_order_rests_and_holds_its_money(bench: Any) -> None:
    sent = await bench.exchange.place(bench.limit(BUY, "2", "95"))
    assert (sent.result, sent.report.done, sent.report.filled) == (ACCEPTED, False, D(0))
    assert (await bench.exchange.balances())["USDT"] == Balance(D(810), D(190))
    (resting,) = await bench.exchange.open_orders()
    assert (resting.exchange_order_id, resting.quantity) == (sent.report.exchange_order_id, D(2))


async def test_a_resting_order_is_filled_at_its_own_price(bench: Any) -> None:
    sent = await bench.exchange.place(bench.limit(BUY, "2", "95"))
    await bench.advance()
    filled = await bench.exchange.fetch_order(BTC, sent.report.exchange_order_id)
    assert (filled.done, filled.filled, filled.average_price) == (True, D(2), D(95))
    assert (await bench.exchange.balances())["USDT"] == Balance(D(810))
    assert list(await bench.exchange.open_orders()) == []


async def test_a_limit_order_that_crosses_is_filled_at_the_better_price(bench: Any) -> None:
    sent = await bench.exchange.place(bench.limit(BUY, "1", "105"))
    assert (sent.report.done, sent.report.average_price) == (True, D(100))
    assert (await bench.exchange.balances())["USDT"] == Balance(D(900))


@pytest.mark.parametrize("tif", [TimeInForce.IOC, TimeInForce.FOK])
async def test_immediate_orders_fill_when_they_cross(bench: Any, tif: TimeInForce) -> None:
    sent = await bench.exchange.place(bench.limit(SELL, "1", "100", tif))
    assert (sent.result, sent.report.filled, sent.report.done) == (ACCEPTED, D(1), True)


@pytest.mark.parametrize("tif", [TimeInForce.IOC, TimeInForce.FOK])
async def test_immediate_orders_end_when_they_do_not_cross(bench: Any, tif: TimeInForce) -> None:
    before = await bench.exchange.balances()
    sent = await bench.exchange.place(bench.limit(SELL, "1", "101", tif))
    assert sent.result is ENDED
    assert await bench.exchange.balances() == before
    assert list(await bench.exchange.open_orders()) == []


async def test_post_only_rests(bench: Any) -> None:
    sent = await bench.exchange.place(bench.limit(SELL, "1", "101", TimeInForce.POST_ONLY))
    assert (sent.result, sent.report.done) == (ACCEPTED, False)


async def test_post_only_ends_when_it_would_take(bench: Any) -> None:
    before = await bench.exchange.balances()
    sent = await bench.exchange.place(bench.limit(SELL, "1", "100", TimeInForce.POST_ONLY))
    assert sent.result is ENDED
    assert await bench.exchange.balances() == before


# -- refusals -----------------------------------------------------------------------------------------------------


def market(side: Side, amount: str) -> Callable[[Any], OrderRequest]:
    return lambda bench: bench.market(side, amount)


def limit(side: Side, quantity: str, price: str) -> Callable[[Any], OrderRequest]:
    return lambda bench: bench.limit(side, quantity, price)


@pytest.mark.parametrize(
    ("make", "label"),
    [
        (market(BUY, "1000.1"), "BALANCE_NOT_ENOUGH"),
        (market(SELL, "2.00001"), "BALANCE_NOT_ENOUGH"),
        (limit(BUY, "11", "95"), "BALANCE_NOT_ENOUGH"),
        (market(BUY, "2.9"), "AMOUNT_TOO_LITTLE"),
        (market(SELL, "0.02"), "AMOUNT_TOO_LITTLE"),
        (limit(BUY, "0.03", "99"), "AMOUNT_TOO_LITTLE"),
        (market(BUY, "100.01"), "INVALID_PRECISION"),
        (market(SELL, "0.500001"), "INVALID_PRECISION"),
        (limit(BUY, "1", "95.01"), "INVALID_PRECISION"),
        (limit(BUY, "1.000001", "95"), "INVALID_PRECISION"),
    ],
)
async def test_a_bad_order_is_refused_and_changes_nothing(bench: Any, make: Any, label: str) -> None:
    before = await bench.exchange.balances()
    sent = await bench.exchange.place(make(bench))
    assert (sent.result, sent.label, sent.report) == (REFUSED, label, None)
    assert sent.message
    assert await bench.exchange.balances() == before


async def test_an_unknown_symbol_is_not_traded(bench: Any) -> None:
    request = OrderRequest("t-unknown", Symbol("DOGE/USDT"), SELL, OrderType.MARKET, quantity=D(1))
    sent = await bench.exchange.place(request)
    assert sent.result in {REFUSED, ResultClass.NOT_SENT}
    assert sent.label == "INVALID_CURRENCY_PAIR"


async def test_an_order_behind_its_fence_is_refused(bench: Any) -> None:
    late = await bench.exchange.place(bench.market(BUY, "100", expires_at=WallClock().now() - 1))
    assert (late.result, late.label) == (REFUSED, "REQUEST_EXPIRED")
    in_time = await bench.exchange.place(bench.market(BUY, "100", expires_at=WallClock().now() + 60_000))
    assert in_time.result is ACCEPTED


# -- cancelling ---------------------------------------------------------------------------------------------------


async def test_a_cancel_ends_an_order_and_frees_its_money(bench: Any) -> None:
    sent = await bench.exchange.place(bench.limit(BUY, "2", "95"))
    answer = await bench.exchange.cancel(BTC, sent.report.exchange_order_id)
    assert answer.result is ACCEPTED
    assert (answer.report.done, answer.report.filled, answer.report.reason) == (True, D(0), "cancelled")
    assert (await bench.exchange.balances())["USDT"] == Balance(D(1000))
    assert list(await bench.exchange.open_orders()) == []


async def test_a_resting_order_is_cancelled_by_our_id_too(bench: Any) -> None:
    request = bench.limit(BUY, "2", "95")
    sent = await bench.exchange.place(request)
    answer = await bench.exchange.cancel(BTC, request.client_order_id)
    assert (answer.result, answer.report.exchange_order_id) == (ACCEPTED, sent.report.exchange_order_id)


async def test_a_cancel_that_loses_the_race_proves_nothing_and_the_order_tells(bench: Any) -> None:
    sent = await bench.exchange.place(bench.limit(BUY, "2", "95"))
    await bench.advance()
    answer = await bench.exchange.cancel(BTC, sent.report.exchange_order_id)
    assert (answer.result, answer.label, answer.report) == (ResultClass.UNKNOWN, "ORDER_CLOSED", None)
    report = await bench.exchange.fetch_order(BTC, sent.report.exchange_order_id)
    assert (report.done, report.filled, report.reason) == (True, D(2), "filled")


async def test_a_second_cancel_changes_nothing(bench: Any) -> None:
    sent = await bench.exchange.place(bench.limit(BUY, "2", "95"))
    first = await bench.exchange.cancel(BTC, sent.report.exchange_order_id)
    second = await bench.exchange.cancel(BTC, sent.report.exchange_order_id)
    assert (second.result, second.label) == (ResultClass.UNKNOWN, "ORDER_CANCELLED")
    assert await bench.exchange.fetch_order(BTC, sent.report.exchange_order_id) == first.report


async def test_a_cancel_of_an_unknown_order_says_nothing(bench: Any) -> None:
    answer = await bench.exchange.cancel(BTC, "999999")
    assert (answer.result, answer.label, answer.report) == (ResultClass.UNKNOWN, "ORDER_NOT_FOUND", None)


async def test_a_cancel_after_its_fence_is_refused(bench: Any) -> None:
    sent = await bench.exchange.place(bench.limit(BUY, "2", "95"))
    past = WallClock().now() - 1
    answer = await bench.exchange.cancel(BTC, sent.report.exchange_order_id, expires_at=past)
    assert (answer.result, answer.label) == (REFUSED, "REQUEST_EXPIRED")
    assert len(await bench.exchange.open_orders()) == 1


# -- amending -----------------------------------------------------------------------------------------------------


async def test_an_amended_order_rests_on_its_new_terms(bench: Any) -> None:
    request = bench.limit(BUY, "2", "80")
    sent = await bench.exchange.place(request)
    answer = await bench.exchange.amend(BTC, sent.report.exchange_order_id, quantity=D(3), price=D(85))
    assert (answer.result, answer.report.quantity, answer.report.price) == (ACCEPTED, D(3), D(85))
    assert (answer.report.client_order_id, answer.report.done) == (request.client_order_id, False)
    assert (await bench.exchange.balances())["USDT"] == Balance(D(745), D(255))
    assert await bench.exchange.open_orders() == [answer.report]


async def test_an_order_amended_across_the_market_trades_at_once(bench: Any) -> None:
    request = bench.limit(BUY, "2", "80")
    await bench.exchange.place(request)
    answer = await bench.exchange.amend(BTC, request.client_order_id, price=D(101))
    assert (answer.result, answer.report.done, answer.report.average_price) == (ACCEPTED, True, D(100))
    assert (await bench.exchange.balances())["USDT"] == Balance(D(800))


async def test_the_terms_of_an_amendment_are_checked_and_change_nothing(bench: Any) -> None:
    sent = await bench.exchange.place(bench.limit(BUY, "2", "80"))
    for change, label in (
        ({"price": D("80.01")}, "INVALID_PRECISION"),
        ({"quantity": D("0.01")}, "AMOUNT_TOO_LITTLE"),
        ({"quantity": D(20)}, "BALANCE_NOT_ENOUGH"),
        ({"price": D(85), "expires_at": WallClock().now() - 1}, "REQUEST_EXPIRED"),
    ):
        answer = await bench.exchange.amend(BTC, sent.report.exchange_order_id, **change)
        assert (answer.result, answer.label) == (REFUSED, label)
    assert await bench.exchange.open_orders() == [sent.report]


async def test_a_post_only_order_is_not_amended_into_a_taker(bench: Any) -> None:
    sent = await bench.exchange.place(bench.limit(BUY, "2", "80", TimeInForce.POST_ONLY))
    answer = await bench.exchange.amend(BTC, sent.report.exchange_order_id, price=D(101))
    assert (answer.result, answer.label, answer.report) == (ResultClass.UNKNOWN, "POC_FILL_IMMEDIATELY", None)
    assert await bench.exchange.open_orders() == [sent.report]


async def test_what_has_ended_is_not_amended(bench: Any) -> None:
    sent = await bench.exchange.place(bench.limit(BUY, "2", "95"))
    await bench.advance()
    for ident, label in ((sent.report.exchange_order_id, "ORDER_CLOSED"), ("999999", "ORDER_NOT_FOUND")):
        answer = await bench.exchange.amend(BTC, ident, price=D(94))
        assert (answer.result, answer.label, answer.report) == (ResultClass.UNKNOWN, label, None)


# -- looking up ---------------------------------------------------------------------------------------------------


async def test_a_pending_order_is_found_by_its_client_id(bench: Any) -> None:
    request = bench.limit(BUY, "2", "95")
    sent = await bench.exchange.place(request)
    assert await bench.exchange.find_order(BTC, request.client_order_id) == sent.report


async def test_the_lookup_of_a_finished_order_finds_it_or_nothing(bench: Any) -> None:
    request = bench.market(BUY, "100")
    sent = await bench.exchange.place(request)
    assert await bench.exchange.find_order(BTC, request.client_order_id) in {sent.report, None}


async def test_what_does_not_exist_is_none(bench: Any) -> None:
    assert await bench.exchange.find_order(BTC, "t-nobody") is None
    assert await bench.exchange.fetch_order(BTC, "999999") is None


async def test_a_client_id_that_is_used_twice_makes_two_orders_and_finds_the_newest(bench: Any) -> None:
    """What makes one write per id, ever, necessary: the venue does not protect us from a second one."""
    request = bench.limit(BUY, "2", "95")
    first, second = await bench.exchange.place(request), await bench.exchange.place(request)
    assert (first.result, second.result) == (ACCEPTED, ACCEPTED)
    assert first.report.exchange_order_id != second.report.exchange_order_id
    resting = await bench.exchange.open_orders()
    assert [report.client_order_id for report in resting] == [request.client_order_id] * 2
    found = await bench.exchange.find_order(BTC, request.client_order_id)
    assert found.exchange_order_id == second.report.exchange_order_id


async def test_a_finished_order_is_fetched_by_its_venue_id(bench: Any) -> None:
    sent = await bench.exchange.place(bench.market(BUY, "100"))
    assert await bench.exchange.fetch_order(BTC, sent.report.exchange_order_id) == sent.report


async def test_orders_are_listed_where_they_belong(bench: Any) -> None:
    before = WallClock().now()
    filled = await bench.exchange.place(bench.market(BUY, "100"))
    resting = await bench.exchange.place(bench.limit(BUY, "2", "95"))
    gone = await bench.exchange.place(bench.limit(BUY, "2", "94"))
    await bench.exchange.cancel(BTC, gone.report.exchange_order_id)
    after = WallClock().now()

    def ids(reports: Any) -> list[str]:
        return [report.exchange_order_id for report in reports]

    assert ids(await bench.exchange.open_orders()) == ids([resting.report])
    assert ids(await bench.exchange.finished_orders(BTC, before, after)) == ids([filled.report, gone.report])
    assert list(await bench.exchange.finished_orders(BTC, before - 9000, before - 2000)) == []


async def test_trades_carry_the_order_they_belong_to(bench: Any) -> None:
    before = WallClock().now()
    request = bench.market(BUY, "100")
    sent = await bench.exchange.place(request)
    await bench.exchange.place(bench.market(SELL, "0.5"))
    bought, sold = await bench.exchange.trades(BTC, before)
    assert (bought.client_order_id, bought.exchange_order_id) == (
        request.client_order_id,
        sent.report.exchange_order_id,
    )
    assert (bought.price, bought.quantity, bought.fee, bought.fee_currency) == (D(100), D(1), D("0.001"), "BTC")
    assert (sold.side, sold.fee, sold.fee_currency) == (SELL, D("0.05"), "USDT")
    assert list(await bench.exchange.trades(BTC, sold.time + 1)) == []


async def test_trades_are_read_however_long_ago_it_was(bench: Any) -> None:
    """A venue gives a range of days at a time; what began between two seconds must not ask for one too many."""
    await bench.exchange.place(bench.market(BUY, "100"))
    assert len(await bench.exchange.trades(BTC, WallClock().now() - 100 * 86_400_000 - 1)) == 1


async def test_many_orders_are_listed_completely(bench: Any) -> None:
    if hasattr(bench, "simulator"):
        bench.simulator.limits.enforce = False
    before = WallClock().now()
    for _ in range(120):
        await bench.exchange.place(bench.limit(BUY, "0.05", "95"))
    assert len({report.exchange_order_id for report in await bench.exchange.open_orders()}) == 120
    await bench.advance()
    finished = await bench.exchange.finished_orders(BTC, before, WallClock().now())
    assert len({report.exchange_order_id for report in finished}) == 120
    assert len({trade.trade_id for trade in await bench.exchange.trades(BTC, before)}) == 120


async def test_the_public_side_has_no_account(bench: Any) -> None:
    with pytest.raises(ExchangeError, match="account"):
        await bench.public.balances()
    with pytest.raises(ExchangeError, match="account"):
        await anext(bench.public.watch_account())


# -- private frames -----------------------------------------------------------------------------------------------


def ended(said: list[Any]) -> bool:
    return any(isinstance(word, OrderReport) and word.done for word in said)


async def test_frames_say_what_the_answer_said(bench: Any) -> None:
    async with frames(bench) as until:
        request = bench.market(BUY, "100")
        sent = await bench.exchange.place(request)
        said = await until(ended)
    trades = [word for word in said if isinstance(word, Trade)]
    reports = [word for word in said if isinstance(word, OrderReport)]
    assert reports[-1] == sent.report
    assert sum(trade.quantity for trade in trades) == sent.report.filled
    assert {trade.client_order_id for trade in trades} == {request.client_order_id}
    assert trades == list(await bench.exchange.trades(BTC, trades[0].time))


async def test_frames_follow_a_resting_order_to_its_end(bench: Any) -> None:
    async with frames(bench) as until:
        sent = await bench.exchange.place(bench.limit(BUY, "2", "95"))
        assert not (await until(lambda said: len(said) == 1))[0].done
        await bench.advance()
        said = await until(ended)
    assert [type(word) for word in said] == [OrderReport, Trade, OrderReport]
    assert (said[1].price, said[1].quantity, said[2].filled) == (D(95), D(2), D(2))
    assert {word.exchange_order_id for word in said} == {sent.report.exchange_order_id}


async def test_frames_tell_of_a_cancel(bench: Any) -> None:
    async with frames(bench) as until:
        sent = await bench.exchange.place(bench.limit(BUY, "2", "95"))
        answer = await bench.exchange.cancel(BTC, sent.report.exchange_order_id)
        said = await until(ended)
    assert said[-1] == answer.report


async def test_cancel_all_ends_whatever_rests_in_the_market(bench: Any) -> None:
    for price in ("80", "81"):
        await bench.exchange.place(bench.limit(Side.BUY, "1", price))
    ended = await bench.exchange.cancel_all(BTC)
    assert [(report.done, report.reason, report.filled) for report in ended] == [(True, "cancelled", Decimal(0))] * 2
    assert await bench.exchange.open_orders() == []
    assert await bench.exchange.cancel_all(BTC) == []


async def test_a_countdown_is_armed_and_called_off(bench: Any) -> None:
    now = WallClock().now()
    due = await bench.exchange.arm_countdown(30)
    assert due is not None
    assert 29_000 <= due - now <= 60_000
    again = await bench.exchange.arm_countdown(60)
    assert again is not None
    assert again > due
    assert await bench.exchange.arm_countdown(0) is None
