"""The book: money in is money out, in every currency."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cashup.exchanges.matching import fee_of
from cashup.exchanges.rules import gate_market, ideal_market
from cashup.trading.book import Book, Position, apply_trade
from cashup.types import MONEY, Market, Side, Symbol, Trade

D = Decimal
ETH, BTC = Symbol("ETH/USDT"), Symbol("BTC/USDT")
VENUES = {
    "gate": {ETH: gate_market(ETH), BTC: gate_market(BTC)},
    "quote": {ETH: ideal_market(ETH, D("0.001")), BTC: ideal_market(BTC, D("0.002"))},
}


def a_trade(market: Market, side: Side, quantity: Decimal, price: Decimal, number: int = 1) -> Trade:
    fee, currency = fee_of(market, side, price, quantity)
    return Trade(str(number), "1", None, market.symbol, side, price, quantity, fee, currency, number)


def test_a_buy_with_its_fee_in_base_brings_less_base():
    book = apply_trade(Book(D(1000)), a_trade(VENUES["gate"][ETH], Side.BUY, D("0.5"), D(1600)))
    assert book.cash == 200
    assert book.positions[ETH] == Position(D("0.4995"), D(800))
    assert book.positions[ETH].average_cost == MONEY.divide(D(800), D("0.4995"))
    assert book.fees == {"ETH": D("0.0005")}


def test_a_buy_with_its_fee_in_quote_costs_more_quote():
    book = apply_trade(Book(D(1000)), a_trade(VENUES["quote"][ETH], Side.BUY, D("0.5"), D(1600)))
    assert book.cash == D("199.2")
    assert book.positions[ETH] == Position(D("0.5"), D("800.8"))


def test_selling_realises_profit_in_proportion():
    market = VENUES["quote"][ETH]
    book = apply_trade(Book(D(1000)), a_trade(market, Side.BUY, D("0.5"), D(1600)))
    book = apply_trade(book, a_trade(market, Side.SELL, D("0.25"), D(2000)))
    assert book.positions[ETH] == Position(D("0.25"), D("400.4"), D("499.5") - D("400.4"))
    book = apply_trade(book, a_trade(market, Side.SELL, D("0.25"), D(2000)))
    assert book.positions[ETH] == Position(D(0), D(0), D(999) - D("800.8"))
    assert book.cash == D(1000) + book.positions[ETH].realised


def test_equity_needs_a_price_for_what_is_held():
    book = apply_trade(Book(D(1000)), a_trade(VENUES["gate"][ETH], Side.BUY, D("0.5"), D(1600)))
    assert book.equity({ETH: D(2000)}) == D(200) + D("0.4995") * 2000
    with pytest.raises(KeyError):
        book.equity({BTC: D(1)})


def test_targets_are_remembered_per_symbol():
    book = Book(D(1)).with_targets({ETH: D("0.5")}).with_targets({BTC: D("0.2")})
    assert book.targets == {ETH: D("0.5"), BTC: D("0.2")}


@st.composite
def trades(draw: st.DrawFn) -> list[Trade]:
    venue = VENUES[draw(st.sampled_from(sorted(VENUES)))]
    made = []
    for number in range(draw(st.integers(0, 12))):
        market = venue[draw(st.sampled_from([ETH, BTC]))]
        quantity = D(draw(st.integers(1, 10**7))).scaleb(-5)
        price = D(draw(st.integers(1, 10**7))).scaleb(-2)
        made.append(a_trade(market, draw(st.sampled_from(Side)), quantity, price, number))
    return made


@given(trades())
def test_cash_and_positions_are_the_sum_of_the_trades(history: list[Trade]):
    book = Book(D(10**9))
    for trade in history:
        book = apply_trade(book, trade)
    cash, held, fees = D(10**9), {ETH: D(0), BTC: D(0)}, {}
    for trade in history:
        sign = 1 if trade.side is Side.BUY else -1
        held[trade.symbol] += sign * trade.quantity
        cash -= sign * trade.quantity * trade.price
        fees[trade.fee_currency] = fees.get(trade.fee_currency, D(0)) + trade.fee
        if trade.fee_currency == "USDT":
            cash -= trade.fee
        else:
            held[trade.symbol] -= trade.fee
    assert book.cash == cash
    assert {symbol: book.quantity(symbol) for symbol in held} == held
    assert book.fees == fees


@given(trades())
def test_profit_is_what_came_in_less_what_is_still_invested(history: list[Trade]):
    book = Book(D(10**9))
    for trade in history:
        book = apply_trade(book, trade)
    realised = sum((p.realised for p in book.positions.values()), D(0))
    invested = sum((p.cost for p in book.positions.values()), D(0))
    assert abs(D(10**9) + realised - invested - book.cash) < D("1e-9")
