"""A paper account keeps its book through restarts, broken databases and second processes."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from decimal import Decimal
from typing import Any

from sqlalchemy import text

from cashup.clock import WallClock
from cashup.exchanges.base import Connected, Disconnected
from cashup.paper.exchange import LivePaper
from cashup.types import Balance, Frame, OrderReport, ResultClass, Side, Trade
from tests.contract.conftest import BTC, LivePaperBench, until_at

D = Decimal


async def run(bench: LivePaperBench, statement: str) -> None:
    async with bench.engine.begin() as connection:
        await connection.execute(text(statement))


async def stand(exchange: LivePaper) -> tuple[Any, ...]:
    """All that the account says of itself."""
    return (
        await exchange.balances(),
        await exchange.open_orders(),
        await exchange.finished_orders(BTC, 0, 1 << 42),
        await exchange.trades(BTC, 0),
    )


async def test_everything_is_there_after_a_restart(bench: LivePaperBench) -> None:
    await bench.exchange.place(bench.market(Side.BUY, "100"))
    await bench.exchange.place(bench.limit(Side.BUY, "2", "95"))
    gone = await bench.exchange.place(bench.limit(Side.BUY, "1", "94"))
    await bench.exchange.cancel(BTC, gone.report.exchange_order_id)
    before = await stand(bench.exchange)
    again = bench.opened()
    assert await stand(again) == before
    sent = await again.place(bench.market(Side.SELL, "0.5"))
    known = {report.exchange_order_id for reports in before[1:3] for report in reports}
    assert sent.report.exchange_order_id not in known
    trades = await again.trades(BTC, 0)
    assert len({trade.trade_id for trade in trades}) == len(trades) == 2


async def test_what_the_market_did_meanwhile_is_made_up_for(bench: LivePaperBench) -> None:
    """Down: the market falls to 90, rises to 110 and stands at 100 again. Both orders were reached."""
    low = await bench.exchange.place(bench.limit(Side.BUY, "2", "95"))
    high = await bench.exchange.place(bench.limit(Side.SELL, "1", "107"))
    await bench.exchange.close()
    await bench.feed.close()
    for _ in range(3):
        bench.simulator.control.step({})
    again = bench.opened()
    said: list[Any] = []
    async with aclosing(again.watch_account()) as stream, asyncio.timeout(10):
        assert await anext(stream) == Connected()
        while sum(isinstance(word, OrderReport) and word.done for word in said) < 2:
            frame = await anext(stream)
            assert isinstance(frame, Frame)
            said += again.read_frame(frame)
    trades = [word for word in said if isinstance(word, Trade)]
    assert [(t.exchange_order_id, t.price) for t in trades] == [
        (low.report.exchange_order_id, D(95)),
        (high.report.exchange_order_id, D(107)),
    ]
    assert await again.open_orders() == []


async def test_an_amended_order_comes_back_with_its_terms(bench: LivePaperBench) -> None:
    sent = await bench.exchange.place(bench.limit(Side.BUY, "2", "80"))
    ident = sent.report.exchange_order_id
    amended = await bench.exchange.amend(BTC, ident, quantity=D(3), price=D(96))
    assert (amended.report.quantity, amended.report.price) == (D(3), D(96))
    again = bench.opened()
    assert await again.open_orders() == [amended.report]
    assert await again.balances() == {"USDT": Balance(D(712), D(288)), "BTC": Balance(D(2))}
    bench.exchange = again
    shrunk = await again.amend(BTC, ident, quantity=D(1))
    assert shrunk.report.quantity == 1
    await bench.advance()
    assert [(t.price, t.quantity) for t in await again.trades(BTC, 0)] == [(D(96), D(1))]
    late = await again.amend(BTC, ident, price=D(90))
    assert (late.result, late.label) == (ResultClass.UNKNOWN, "ORDER_CLOSED")


async def test_a_countdown_runs_out_whether_the_process_lives_or_not(bench: LivePaperBench) -> None:
    for restart in (False, True):
        await bench.exchange.place(bench.limit(Side.BUY, "2", "95"))
        due = await bench.exchange.arm_countdown(1)
        assert due is not None
        if restart:
            await bench.exchange.close()
            while WallClock().now() <= due:
                await asyncio.sleep(0.05)
            bench.exchange = bench.opened()
        async with aclosing(bench.exchange.watch_account()) as stream, asyncio.timeout(10):
            assert await anext(stream) == Connected()
            frame = await anext(stream)
            assert isinstance(frame, Frame)
            (report,) = bench.exchange.read_frame(frame)
        assert isinstance(report, OrderReport)
        assert (report.done, report.reason) == (True, "cancelled")
        assert (await bench.exchange.balances())["USDT"] == Balance(D(1000))


async def test_a_bar_is_not_played_twice(bench: LivePaperBench) -> None:
    """The open bar was at 90 before the order came: that low must not fill it after a restart."""
    await bench.advance()
    await bench.advance()  # the bar before went down to 90; the market stands at 110
    order = await bench.exchange.place(bench.limit(Side.BUY, "2", "95"))
    again = bench.opened()
    async with aclosing(again.watch_account()) as stream:
        assert await anext(stream) == Connected()
        await again.settle()
    assert await again.open_orders() == [order.report]


async def test_a_database_that_fails_leaves_the_fate_unknown_and_the_order_unmade(bench: LivePaperBench) -> None:
    await bench.exchange.place(bench.limit(Side.BUY, "1", "95"))
    before = await stand(bench.exchange)
    await run(bench, "ALTER TABLE paper_trades RENAME TO away")
    request = bench.market(Side.BUY, "100")
    sent = await bench.exchange.place(request)
    assert sent.result is ResultClass.UNKNOWN
    await run(bench, "ALTER TABLE away RENAME TO paper_trades")
    assert await stand(bench.exchange) == before
    assert await bench.exchange.find_order(BTC, request.client_order_id) is None
    assert (await bench.exchange.place(bench.market(Side.BUY, "100"))).result is ResultClass.ACCEPTED


async def test_two_processes_never_write_over_each_other(bench: LivePaperBench) -> None:
    other = bench.opened()
    await bench.exchange.place(bench.limit(Side.BUY, "1", "95"))
    async with aclosing(other.watch_account()) as stream:
        assert await anext(stream) == Connected()
        assert (await bench.exchange.place(bench.market(Side.BUY, "100"))).result is ResultClass.ACCEPTED
        assert (await other.place(bench.market(Side.BUY, "200"))).result is ResultClass.UNKNOWN
        assert isinstance(await anext(stream), Disconnected)
        assert await anext(stream) == Connected()
        assert (await other.place(bench.market(Side.BUY, "200"))).result is ResultClass.ACCEPTED
    assert sum(trade.quantity for trade in await other.trades(BTC, 0)) == 3
    assert await other.balances() == {"USDT": Balance(D(605), D(95)), "BTC": Balance(2 + 3 * D("0.999"))}


async def test_an_order_meets_the_market_where_it_arrives(bench: LivePaperBench) -> None:
    bench.terms = replace(bench.terms, latency=300, jitter=20)
    slow = bench.opened()
    await bench.exchange.place(bench.market(Side.BUY, "10"))  # the feed listens from here on
    sending = asyncio.create_task(slow.place(bench.market(Side.BUY, "90")))
    await asyncio.sleep(0)
    await bench.advance()
    assert not sending.done()
    assert (await sending).report.average_price == 90
    late = await slow.place(bench.market(Side.BUY, "90", expires_at=WallClock().now() + 100))
    assert (late.result, late.label) == (ResultClass.REFUSED, "REQUEST_EXPIRED")


async def test_a_share_of_the_volume_fills_in_parts(bench: LivePaperBench) -> None:
    """Every bar of the tape has a volume of 1; a tenth of it can be had in each."""
    bench.terms = replace(bench.terms, liquidity=D("0.1"))
    bench.exchange = bench.opened()
    sent = await bench.exchange.place(bench.market(Side.SELL, "0.5"))
    assert (sent.report.filled, sent.report.done, sent.report.reason) == (D("0.1"), True, "ioc")
    resting = await bench.exchange.place(bench.limit(Side.BUY, "0.25", "96"))
    filled = []
    for _ in range(5):
        await bench.advance()
        order = await bench.exchange.fetch_order(BTC, resting.report.exchange_order_id)
        filled.append(order.filled)
    assert filled == [D("0.1"), D("0.1"), D("0.1"), D("0.2"), D("0.2")]  # at 90 and at 95; the other bars are dearer


async def test_an_order_amended_to_what_is_filled_is_done_and_below_it_cancelled(bench: LivePaperBench) -> None:
    bench.terms = replace(bench.terms, liquidity=D("0.1"))
    bench.exchange = bench.opened()
    orders = [(await bench.exchange.place(bench.limit(Side.BUY, "1", price))).report for price in ("96", "95")]
    await bench.advance()
    await bench.advance()
    (first,) = [report for report in await bench.exchange.open_orders() if report.filled]
    done = await bench.exchange.amend(BTC, first.exchange_order_id, quantity=first.filled)
    assert (done.report.done, done.report.reason, done.report.filled) == (True, "filled", D("0.1"))
    for _ in range(2):
        await bench.advance()
    (second,) = [report for report in await bench.exchange.open_orders() if report.filled]
    assert {first.exchange_order_id, second.exchange_order_id} == {order.exchange_order_id for order in orders}
    gone = await bench.exchange.amend(BTC, second.exchange_order_id, quantity=D("0.05"))
    assert (gone.report.done, gone.report.reason, gone.report.filled) == (True, "cancelled", second.filled)
    assert (await bench.exchange.balances())["USDT"].reserved == 0


async def test_an_account_has_its_own_fees_and_slippage(bench: LivePaperBench) -> None:
    bench.terms = replace(bench.terms, taker_fee=D("0.002"), maker_fee=D(0), slippage=D("0.01"))
    bench.exchange = bench.opened()
    market = (await bench.exchange.markets())[BTC]
    assert (market.taker_fee, market.maker_fee) == (D("0.002"), D(0))
    taken = await bench.exchange.place(bench.market(Side.SELL, "1"))
    resting = await bench.exchange.place(bench.limit(Side.BUY, "1", "95"))
    await bench.advance()
    trades = {trade.exchange_order_id: trade for trade in await bench.exchange.trades(BTC, 0)}
    first, second = trades[taken.report.exchange_order_id], trades[resting.report.exchange_order_id]
    assert (first.price, first.fee, first.fee_currency) == (D(99), D("0.198"), "USDT")
    assert (second.price, second.fee) == (D(95), 0)


async def test_a_market_that_is_not_live_takes_no_order(bench: LivePaperBench) -> None:
    await bench.exchange.place(bench.market(Side.BUY, "10"))
    (channel,) = bench.feed.channels()
    await until_at(channel, bench.simulator.venue.candle(BTC))
    await bench.simulator.stop()
    async with asyncio.timeout(10):
        while channel.connected:
            await asyncio.sleep(0.01)
    sent = await bench.exchange.place(bench.market(Side.BUY, "10"))
    assert (sent.result, sent.report) == (ResultClass.NOT_SENT, None)
    assert "live market" in sent.message


async def test_the_accounts_of_one_venue_share_its_subscription(bench: LivePaperBench) -> None:
    accounts = [bench.exchange, *(bench.opened(f"paper-{number}") for number in range(5))]
    for account in accounts:
        await account.place(bench.limit(Side.BUY, "2", "95"))
    assert len(bench.feed.channels()) == 1
    bench.simulator.control.step({})
    await until_at(bench.feed.channels()[0], bench.simulator.venue.candle(BTC))
    for account in accounts:
        await account.settle()
        assert await account.open_orders() == []
