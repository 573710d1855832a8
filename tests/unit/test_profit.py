"""Realised and unrealised profit are the change of equity, to the last digit, whatever is traded."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cashup.trading.book import Book, apply_trade
from cashup.types import ZERO, Side, Symbol, Trade

SPOT, CONTRACT = Symbol("BTC/USDT"), Symbol("BTC/USDT:USDT")
CAPITAL = Decimal(1_000_000)
FEES = st.sampled_from(["BTC", "USDT", "GT"])


@st.composite
def trades(draw: st.DrawFn, symbol: Symbol) -> list[Trade]:
    """Trades with eight digits behind the point in quantities, fees in any asset; a spot position is never short."""
    found: list[Trade] = []
    held = ZERO
    for number in range(draw(st.integers(1, 30))):
        price = Decimal(draw(st.integers(1, 10_000_000))) / 100
        quantity = Decimal(draw(st.integers(1, 10**9))) / 10**8
        side = draw(st.sampled_from(Side))
        currency = draw(FEES) if symbol == SPOT else "USDT"
        if symbol == SPOT and side is Side.SELL:
            currency = "USDT" if currency == "BTC" else currency
            quantity = min(quantity, held) if held else quantity
            side = Side.SELL if held else Side.BUY
        received = quantity if currency == "BTC" else price * quantity
        fee = Decimal(draw(st.integers(0, 20))) / 10_000 * received
        held += (quantity if side is Side.BUY else -quantity) - (fee if currency == "BTC" else ZERO)
        found.append(Trade(str(number), "1", None, symbol, side, price, quantity, fee, currency, number))
    return found


@pytest.mark.parametrize("symbol", [SPOT, CONTRACT])
@settings(max_examples=200, deadline=None)
@given(data=st.data(), mark=st.integers(1, 10_000_000))
def test_profit_is_the_change_of_equity(symbol: Symbol, data: st.DataObject, mark: int) -> None:
    book = Book(CAPITAL)
    for trade in data.draw(trades(symbol)):
        book = apply_trade(book, trade)
    position, price = book.positions[symbol], Decimal(mark) / 100
    unrealised = position.quantity * price - position.cost
    assert position.realised + unrealised == book.equity({symbol: price}) - CAPITAL


@pytest.mark.parametrize("symbol", [SPOT, CONTRACT])
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_without_fees_the_profit_before_them_is_what_prices_made(symbol: Symbol, data: st.DataObject) -> None:
    """Fees in quote lessen the profit by exactly their sum."""
    free, paid, fees = Book(CAPITAL), Book(CAPITAL), ZERO
    for trade in data.draw(trades(symbol)):
        if trade.fee_currency == "USDT":
            fees += trade.fee
            paid = apply_trade(paid, trade)
            free = apply_trade(free, Trade(*(*_words(trade)[:7], ZERO, "USDT", trade.time)))
    marks = {symbol: Decimal(100)}
    assert paid.equity(marks) == free.equity(marks) - fees


def _words(trade: Trade) -> tuple[object, ...]:
    names = ("trade_id", "exchange_order_id", "client_order_id", "symbol", "side", "price", "quantity")
    return tuple(getattr(trade, name) for name in names)
