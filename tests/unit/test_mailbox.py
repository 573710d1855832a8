"""News in order; an answer that comes before its trades waits for them, but not for long."""

from __future__ import annotations

import asyncio
from decimal import Decimal

from cashup.orders.patience import Patience
from cashup.trading.mailbox import Mailbox, News
from cashup.types import OrderReport, ResultClass, SendResult, Side, Symbol, Trade

BTC = Symbol("BTC/USDT")


def answer(order: str, *, filled: int = 1, done: bool = True) -> News:
    report = OrderReport(order, "9", BTC, Side.BUY, Decimal(filled), done, "filled", 1)
    return News([SendResult(ResultClass.ACCEPTED, report)], order=order)


def traded(order: str) -> News:
    return News([Trade("1", "9", order, BTC, Side.BUY, Decimal(1), Decimal(1), Decimal(0), "BTC", 1)], inbox=(1,))


async def test_the_answer_waits_for_its_trades() -> None:
    box = Mailbox(Patience(trades=60_000))
    early, other, trades = answer("a"), answer("b", filled=0), traded("a")
    box.put(early)
    box.put(other)
    assert box.peek() == [other]
    box.put(trades)
    assert box.peek() == [other, trades, early]


async def test_the_answer_does_not_wait_for_trades_that_were_there_before() -> None:
    box = Mailbox(Patience(trades=60_000))
    trades, late = traded("a"), answer("a")
    box.put(trades)
    box.put(late)
    assert box.peek() == [trades, late]


async def test_the_answer_waits_a_moment_only() -> None:
    box = Mailbox(Patience(trades=1))
    box.put(answer("a"))
    assert box.peek() == []
    await box.wait(30)
    assert box.peek() == [answer("a")]


async def test_a_resting_order_is_news_at_once() -> None:
    box = Mailbox(Patience(trades=60_000))
    box.put(answer("a", done=False))
    box.put(News([SendResult(ResultClass.UNKNOWN)], order="b"))
    assert len(box.peek()) == 2
    box.drop(1)
    assert [news.order for news in box.peek()] == ["b"]


async def test_a_wake_before_the_wait_is_not_lost() -> None:
    box = Mailbox(Patience())
    box.wake()
    async with asyncio.timeout(30):
        await box.wait(None)
