"""Planner, book and ledger as properties: the same trades give the same money, in whatever order they come.

Each runs on 200 examples (`CASHUP_PROOF_SCALE` multiplies).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cashup.exchanges.rules import gate_market, ideal_market
from cashup.trading.book import Book, Position, apply_trade
from cashup.trading.ledger import HOLDINGS, Posting, post_trade
from cashup.trading.planner import decide, plan_increases, plan_reductions
from cashup.types import Side, Symbol, Trade
from tests.faults.scale import times

D = Decimal
BTC, ETH, XRP = Symbol("BTC/USDT"), Symbol("ETH/USDT"), Symbol("XRP/USDT")
SYMBOLS = [BTC, ETH, XRP]
MARKS = {BTC: D("50000"), ETH: D("2000"), XRP: D("2")}
GATE = {symbol: gate_market(symbol) for symbol in SYMBOLS}
IDEAL = {symbol: ideal_market(symbol, D("0.001")) for symbol in SYMBOLS}
START = D(10**9)
EXACT = D("1e-15")
"""What divisions may lose: average costs have 40 digits."""


def prop(*given_: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def mark(test: Callable[..., None]) -> Callable[..., None]:
        return settings(max_examples=times(200), deadline=None, print_blob=True)(given(*given_)(test))

    return mark


QUANTITIES = st.integers(1, 10**6).map(lambda lots: D(lots).scaleb(-5))
PRICES = st.integers(1, 10**7).map(lambda ticks: D(ticks).scaleb(-2))
FEES = st.integers(0, 10**3).map(lambda units: D(units).scaleb(-6))


@st.composite
def trades(draw: st.DrawFn, symbol: Symbol | None = None, side: Side | None = None, fee: str | None = None) -> Trade:
    chosen = symbol or draw(st.sampled_from(SYMBOLS))
    base = chosen.partition("/")[0]
    quantity = draw(QUANTITIES)
    return Trade(
        trade_id=str(draw(st.integers(1, 10**9))),
        exchange_order_id="1",
        client_order_id=None,
        symbol=chosen,
        side=side or draw(st.sampled_from(Side)),
        price=draw(PRICES),
        quantity=quantity,
        fee=min(draw(FEES), quantity),
        fee_currency=fee or draw(st.sampled_from([base, "USDT", "GT"])),
        time=1,
    )


def told(book: Book, history: list[Trade]) -> Book:
    for trade in history:
        book = apply_trade(book, trade)
    return book


def rich() -> Book:
    """A book that can sell whatever it is asked to."""
    return Book(START, {symbol: Position(D(10**6), D(10**6)) for symbol in SYMBOLS})


def sums(rows: list[dict[str, Any]], *kinds: str) -> dict[tuple[str | None, str], Decimal]:
    """By deployment and asset, zeros left out."""
    found: dict[tuple[str | None, str], Decimal] = {}
    for row in rows:
        if row["kind"] in kinds:
            name = (row["deployment"], row["asset"])
            found[name] = found.get(name, D(0)) + row["amount"]
    return {name: amount for name, amount in found.items() if amount}


# -- the book ---------------------------------------------------------------------------------------------------------


@prop(st.lists(trades(), max_size=8), st.randoms(use_true_random=False))
def test_cash_and_quantities_do_not_depend_on_the_order_of_trades(history: list[Trade], random: Any) -> None:
    shuffled = random.sample(history, len(history))
    one, other = told(rich(), history), told(rich(), shuffled)
    assert one.cash == other.cash
    assert one.fees == other.fees
    assert all(one.quantity(symbol) == other.quantity(symbol) for symbol in SYMBOLS)


@prop(trades(symbol=BTC), trades(symbol=ETH))
def test_trades_in_two_symbols_do_not_touch_each_other(one: Trade, other: Trade) -> None:
    book = told(rich(), [one, other])
    assert book.positions[BTC] == told(rich(), [one]).positions[BTC]
    assert book.positions[ETH] == told(rich(), [other]).positions[ETH]


@prop(trades(fee="USDT"))
def test_a_trade_at_the_mark_costs_its_fee_and_nothing_else(trade: Trade) -> None:
    marks = {**MARKS, trade.symbol: trade.price}
    assert told(rich(), [trade]).equity(marks) == rich().equity(marks) - trade.fee


@prop(trades(fee="GT"))
def test_a_fee_in_a_third_asset_touches_neither_cash_nor_position(trade: Trade) -> None:
    free = replace(trade, fee=D(0))
    one, other = told(rich(), [trade]), told(rich(), [free])
    assert (one.cash, one.positions) == (other.cash, other.positions)


@prop(trades(symbol=BTC, side=Side.BUY))
def test_what_is_bought_and_sold_again_at_its_price_leaves_nothing(trade: Trade) -> None:
    free = replace(trade, fee=D(0))
    book = told(Book(START), [free, replace(free, side=Side.SELL)])
    assert (book.cash, book.positions[BTC]) == (START, Position())


@prop(trades(symbol=BTC, side=Side.BUY, fee="USDT"), PRICES, st.integers(1, 9))
def test_selling_in_two_parts_realises_what_selling_at_once_does(trade: Trade, price: Decimal, tenths: int) -> None:
    sell = replace(trade, side=Side.SELL, price=price, fee=D(0))
    part = trade.quantity * tenths / 10
    halves = [replace(sell, quantity=part), replace(sell, quantity=trade.quantity - part)]
    once, twice = told(Book(START), [trade, sell]), told(Book(START), [trade, *halves])
    assert abs(once.positions[BTC].realised - twice.positions[BTC].realised) < EXACT
    assert (once.cash, twice.positions[BTC].quantity, twice.positions[BTC].cost) == (twice.cash, 0, 0)


@prop(st.lists(trades(symbol=BTC, side=Side.BUY, fee="USDT"), min_size=1, max_size=6))
def test_the_average_cost_lies_between_the_prices_paid(history: list[Trade]) -> None:
    free = [replace(trade, fee=D(0)) for trade in history]
    average = told(Book(START), free).positions[BTC].average_cost
    assert average is not None
    assert min(t.price for t in free) - EXACT <= average <= max(t.price for t in free) + EXACT


# -- the ledger -------------------------------------------------------------------------------------------------------


@prop(st.lists(trades(), max_size=8), st.integers(0, 10**9).map(D))
def test_the_ledger_holds_what_the_book_holds(history: list[Trade], reserved: Decimal) -> None:
    rows: list[dict[str, Any]] = []
    for trade in history:
        base, _, quote = trade.symbol.partition("/")
        posting = Posting("main", "demo", "trade", 1)
        post_trade(posting, trade, base, quote, reserved)
        rows += posting.rows()
    held, book = sums(rows, *HOLDINGS), told(rich(), history)
    assert held.get(("demo", "USDT"), D(0)) == book.cash - START
    for symbol in SYMBOLS:
        assert held.get(("demo", symbol.partition("/")[0]), D(0)) == book.quantity(symbol) - 10**6


@prop(st.lists(trades(), max_size=8), st.randoms(use_true_random=False))
def test_the_ledger_does_not_depend_on_the_order_of_trades(history: list[Trade], random: Any) -> None:
    def posted(order: list[Trade]) -> dict[tuple[str | None, str], Decimal]:
        rows: list[dict[str, Any]] = []
        for trade in order:
            base, _, quote = trade.symbol.partition("/")
            posting = Posting("main", "demo", "trade", 1)
            post_trade(posting, trade, base, quote, D(0))
            rows += posting.rows()
        return sums(rows, *HOLDINGS, "fee", "market")

    assert posted(history) == posted(random.sample(history, len(history)))


@prop(trades(), st.integers(0, 10**9).map(D))
def test_what_a_trade_takes_from_its_reservation_and_what_stays_are_the_whole(trade: Trade, reserved: Decimal) -> None:
    base, _, quote = trade.symbol.partition("/")
    posting = Posting("main", "demo", "trade", 1)
    left = post_trade(posting, trade, base, quote, reserved)
    asset = quote if trade.side is Side.BUY else base
    taken = -sums(posting.rows(), "reserved").get(("demo", asset), D(0))
    assert left + taken == reserved
    assert left >= 0


@prop(trades(side=Side.BUY), st.integers(0, 10**9).map(D))
def test_reserving_filling_and_releasing_leaves_nothing_reserved(trade: Trade, more: Decimal) -> None:
    base, _, quote = trade.symbol.partition("/")
    amount = trade.price * trade.quantity + more
    posting = Posting("main", "demo", "order", 1).move(quote, amount, "cash", "reserved")
    left = post_trade(posting, trade, base, quote, amount)
    posting.move(quote, left, "reserved", "cash")
    assert sums(posting.rows(), "reserved") == {}


# -- the planner ------------------------------------------------------------------------------------------------------

TARGETS = st.sampled_from([None, D(0), D("0.1"), D("0.25"), D("0.5"), D(1)])


@st.composite
def books(draw: st.DrawFn) -> Book:
    positions = {symbol: Position(D(draw(st.integers(0, 10**6))).scaleb(-4), D(1)) for symbol in SYMBOLS}
    previous = {symbol: draw(TARGETS) or D(0) for symbol in SYMBOLS}
    return Book(D(draw(st.integers(0, 10**8))), positions, previous)


ASKED = st.fixed_dictionaries(dict.fromkeys(SYMBOLS, TARGETS))
VENUES = st.sampled_from([GATE, IDEAL])
Asked = Mapping[Symbol, Decimal | None]


@prop(books(), ASKED)
def test_asking_for_the_same_again_is_no_reason_to_trade(book: Book, asked: Asked) -> None:
    after = book.with_targets(decide(book, asked, MARKS).targets)
    assert decide(after, asked, MARKS).sizing.aims == ()


@prop(books())
def test_asking_for_nothing_new_keeps_what_was_asked(book: Book) -> None:
    assert decide(book, dict.fromkeys(SYMBOLS), MARKS).sizing.aims == ()


@prop(books(), ASKED, VENUES)
def test_the_order_in_which_symbols_are_named_does_not_matter(book: Book, asked: Asked, venue: Any) -> None:
    backwards = dict(reversed(list(asked.items())))
    one, other = (decide(book, request, MARKS).sizing for request in (asked, backwards))
    assert one.equity == other.equity
    assert sorted(one.aims, key=lambda a: a.symbol) == sorted(other.aims, key=lambda a: a.symbol)


@prop(books(), ASKED, VENUES)
def test_no_more_is_sold_than_is_held_and_free(book: Book, asked: Asked, venue: Any) -> None:
    sizing = decide(book, asked, MARKS).sizing
    held = {symbol: book.quantity(symbol) / 2 for symbol in SYMBOLS}
    for draft in plan_reductions(sizing, book, venue, held=held).drafts:
        assert draft.quantity is not None
        assert 0 < draft.quantity <= held[draft.symbol]


@prop(books(), ASKED, VENUES)
def test_no_more_is_spent_than_there_is(book: Book, asked: Asked, venue: Any) -> None:
    drafts = plan_increases(decide(book, asked, MARKS).sizing, book, venue).drafts
    fee = D("0.001") if venue is IDEAL else D(0)
    assert sum((draft.value * (1 + fee) for draft in drafts), D(0)) <= book.cash


@prop(books(), ASKED, VENUES, st.sampled_from(SYMBOLS))
def test_a_frozen_symbol_gets_no_purchase_and_no_other_one_loses_by_it(
    book: Book, asked: Asked, venue: Any, frozen: Symbol
) -> None:
    sizing = decide(book, asked, MARKS).sizing
    assume(any(aim.symbol == frozen and aim.desired > 0 for aim in sizing.aims))
    usual = {draft.symbol: draft.value for draft in plan_increases(sizing, book, venue).drafts}
    cold = {d.symbol: d.value for d in plan_increases(sizing, book, venue, frozen=frozenset({frozen})).drafts}
    assert frozen not in cold
    assert all(cold.get(symbol, D(0)) >= value for symbol, value in usual.items() if symbol != frozen)


@prop(books(), ASKED, VENUES)
def test_selling_and_buying_never_meet_in_one_symbol(book: Book, asked: Asked, venue: Any) -> None:
    sizing = decide(book, asked, MARKS).sizing
    sold = {draft.symbol for draft in plan_reductions(sizing, book, venue).drafts}
    bought = {draft.symbol for draft in plan_increases(sizing, book, venue).drafts}
    assert not sold & bought
