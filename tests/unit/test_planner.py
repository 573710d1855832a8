"""The planner and risk: targets become orders that the money and the venue allow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cashup.exchanges.matching import fee_of, quantity_for
from cashup.exchanges.rules import gate_market, ideal_market
from cashup.trading.book import Book, Position, apply_trade
from cashup.trading.planner import Plan, Sizing, Verdict, decide, plan_increases, plan_reductions
from cashup.trading.risk import Action, Allowance, Limits, Standing
from cashup.types import Market, OrderType, Side, Symbol, Trade

D = Decimal
ETH, XRP, BTC = Symbol("ETH/USDT"), Symbol("XRP/USDT"), Symbol("BTC/USDT")
SYMBOLS = [ETH, XRP, BTC]
MARKS = {ETH: D("3000"), XRP: D("2.5"), BTC: D("100000")}
GATE = {symbol: gate_market(symbol) for symbol in SYMBOLS}
IDEAL = {symbol: ideal_market(symbol, D("0.001")) for symbol in SYMBOLS}


def a_book(cash: str = "10000", targets: Mapping[Symbol, Decimal] | None = None, **held: str) -> Book:
    positions = {Symbol(f"{base}/USDT"): Position(D(quantity), D(1)) for base, quantity in held.items()}
    return Book(D(cash), positions, targets or {})


def codes(plan: Plan | Verdict) -> list[tuple[Symbol, Action, str]]:
    return [(decision.symbol, decision.action, decision.code) for decision in plan.decisions]


def test_a_changed_target_is_sized_on_equity():
    verdict = decide(a_book(cash="4000", ETH="2"), {ETH: D("0.5"), XRP: D("0.1")}, MARKS)
    assert verdict.sizing.equity == 10000
    assert [(aim.symbol, aim.desired) for aim in verdict.sizing.aims] == [(ETH, D(-1000)), (XRP, D(1000))]
    assert verdict.targets == {ETH: D("0.5"), XRP: D("0.1")}


def test_the_same_target_and_nan_are_no_reason_to_trade():
    book = a_book(targets={ETH: D("0.5")})
    verdict = decide(book, {ETH: D("0.50"), XRP: None, BTC: D(0)}, MARKS)
    assert verdict == Verdict(Sizing(D(10000), ()), {}, ())


@pytest.mark.parametrize(("rebalance", "trades"), [(None, False), ("0.06", False), ("0.04", True)])
def test_drift_beyond_the_threshold_is_traded_back(rebalance: str | None, trades: bool):
    book = a_book(cash="4500", targets={BTC: D("0.5")}, BTC="0.055")
    verdict = decide(book, {BTC: None}, MARKS, rebalance=D(rebalance) if rebalance else None)
    assert [(aim.symbol, aim.desired) for aim in verdict.sizing.aims] == ([(BTC, D(-500))] if trades else [])


def test_sells_come_largest_first_and_buys_smallest_first():
    book = a_book(cash="1000", ETH="1", XRP="800", BTC="0.04")
    verdict = decide(book, {ETH: D("0.1"), XRP: D("0.5"), BTC: D("0.35")}, MARKS)
    sells = plan_reductions(verdict.sizing, book, IDEAL)
    assert [draft.symbol for draft in sells.drafts] == [ETH, BTC]
    buys = plan_increases(verdict.sizing, replace(book, cash=D(5000)), IDEAL)
    assert [draft.symbol for draft in buys.drafts] == [XRP]


def test_equal_purchases_go_in_the_order_of_the_symbols():
    book = a_book()
    verdict = decide(book, {BTC: D("0.3"), ETH: D("0.3"), XRP: D("0.2")}, MARKS)
    assert [draft.symbol for draft in plan_increases(verdict.sizing, book, GATE).drafts] == [XRP, BTC, ETH]


def test_leaving_sells_all_of_it_and_dust_stays():
    book = a_book(cash="0", ETH="1.54158889")
    verdict = decide(book, {ETH: D(0)}, MARKS)
    assert verdict.sizing.aims == ()
    book = replace(book, targets={ETH: D(1)})
    verdict = decide(book, {ETH: D(0)}, MARKS)
    assert plan_reductions(verdict.sizing, book, GATE).drafts[0].quantity == D("1.5415")
    assert plan_reductions(verdict.sizing, book, IDEAL).drafts[0].quantity == D("1.54158889")


def test_a_market_buy_on_gate_spends_the_cash_on_the_cost_step():
    book = a_book(cash="10000.128")
    verdict = decide(book, {ETH: D(1)}, MARKS)
    plan = plan_increases(verdict.sizing, book, GATE)
    assert plan.drafts[0].cost == D("10000.12")
    assert codes(plan) == [(ETH, Action.ALLOW, "allowed")]


def test_a_fee_on_top_is_kept_back():
    book = a_book()
    verdict = decide(book, {ETH: D(1)}, MARKS)
    plan = plan_increases(verdict.sizing, book, IDEAL)
    assert plan.drafts[0].cost == D("9990.009990009990")
    assert codes(plan) == [(ETH, Action.SHRINK, "insufficient_cash")]


def test_targets_above_one_are_followed_as_far_as_the_cash_goes():
    book = a_book()
    verdict = decide(book, {ETH: D("0.8"), BTC: D("0.5")}, MARKS)
    assert [code for _, _, code in codes(verdict)] == ["targets_above_one"] * 2
    plan = plan_increases(verdict.sizing, book, GATE)
    assert [(draft.symbol, draft.cost) for draft in plan.drafts] == [(BTC, D(5000)), (ETH, D(5000))]


def test_a_negative_target_is_denied_and_the_previous_one_stays():
    book = a_book(targets={ETH: D("0.5")}, ETH="1")
    verdict = decide(book, {ETH: D("-0.5")}, MARKS)
    assert codes(verdict) == [(ETH, Action.DENY, "negative_target")]
    assert (verdict.sizing.aims, verdict.targets) == ((), {})


def test_a_missing_price_stops_what_depends_on_it():
    marks = {ETH: D(3000), BTC: D(0)}
    verdict = decide(a_book(), {ETH: D("0.5"), BTC: D("0.5")}, marks)
    assert codes(verdict) == [(BTC, Action.DENY, "price_missing")]
    assert [aim.symbol for aim in verdict.sizing.aims] == [ETH]
    held = decide(a_book(BTC="1"), {ETH: D("0.5")}, marks)
    assert codes(held) == [(BTC, Action.DENY, "price_missing")]
    assert held.sizing.aims == ()


def test_without_equity_nothing_is_traded():
    assert codes(decide(a_book(cash="0"), {ETH: D(1)}, MARKS)) == [(ETH, Action.DENY, "no_equity")]


@pytest.mark.parametrize(
    ("cash", "target", "code"), [("10000", "0.0002", "below_minimum"), ("2", "1", "below_minimum")]
)
def test_what_the_venue_would_not_take_is_not_sent(cash: str, target: str, code: str):
    book = a_book(cash=cash)
    plan = plan_increases(decide(book, {ETH: D(target)}, MARKS).sizing, book, GATE)
    assert plan.drafts == ()
    assert codes(plan) == [(ETH, Action.DENY, code)]


def test_a_limit_shrinks_buys_and_never_holds_up_a_sale():
    standing = Standing((Allowance("demo", Limits(max_order_notional=D(100))),))
    book = a_book(targets={BTC: D(1)}, BTC="0.5")
    verdict = decide(book, {ETH: D("0.1"), BTC: D(0)}, MARKS)
    buys = plan_increases(verdict.sizing, book, GATE, standing=standing)
    assert [draft.cost for draft in buys.drafts] == [D(100)]
    assert codes(buys) == [(ETH, Action.SHRINK, "max_order_notional")]
    assert plan_reductions(verdict.sizing, book, GATE, standing=standing).drafts[0].quantity == D("0.5")


def test_an_unknown_order_freezes_buying_in_its_symbol_only():
    book = a_book()
    sizing = decide(book, {ETH: D("0.3"), BTC: D("0.3")}, MARKS).sizing
    plan = plan_increases(sizing, book, GATE, frozen=frozenset({ETH}))
    assert [draft.symbol for draft in plan.drafts] == [BTC]
    assert (ETH, Action.DENY, "unknown_order") in codes(plan)


def test_a_symbol_the_venue_does_not_trade_is_denied():
    book = a_book()
    plan = plan_increases(decide(book, {ETH: D("0.3")}, MARKS).sizing, book, {})
    assert codes(plan) == [(ETH, Action.DENY, "unknown_market")]


def test_a_draft_becomes_a_market_order():
    book = a_book()
    draft = plan_increases(decide(book, {ETH: D("0.3")}, MARKS).sizing, book, GATE).drafts[0]
    request = draft.request("t-1", expires_at=5)
    assert (request.type, request.side, request.cost, request.quantity) == (
        OrderType.MARKET,
        Side.BUY,
        D("3000.00"),
        None,
    )
    assert (request.client_order_id, request.expires_at) == ("t-1", 5)


TARGETS = st.sampled_from([None, D(0), D(1), D("0.5"), D("0.333333"), D("0.5000001"), D("0.9")])
AMOUNTS = st.integers(0, 10**9)


@st.composite
def situations(draw: st.DrawFn) -> tuple[Book, dict[Symbol, Decimal | None], dict[Symbol, Decimal]]:
    quantities = {ETH: draw(AMOUNTS), XRP: draw(AMOUNTS), BTC: draw(AMOUNTS)}
    positions = {symbol: Position(D(quantity).scaleb(-8)) for symbol, quantity in quantities.items()}
    previous = {symbol: draw(TARGETS) or D(0) for symbol in SYMBOLS}
    marks = {symbol: mark * draw(st.integers(50, 200)) / 100 for symbol, mark in MARKS.items()}
    book = Book(D(draw(st.integers(0, 10**12))).scaleb(-8), positions, previous)
    return book, {symbol: draw(TARGETS) for symbol in SYMBOLS}, marks


def fill(book: Book, plan: Plan, markets: Mapping[Symbol, Market], marks: Mapping[Symbol, Decimal]) -> Book:
    for number, draft in enumerate(plan.drafts):
        market, mark = markets[draft.symbol], marks[draft.symbol]
        quantity = draft.quantity if draft.cost is None else quantity_for(market, draft.cost, mark)
        assert quantity is not None
        fee, currency = fee_of(market, draft.side, mark, quantity)
        trade = Trade(str(number), "1", None, draft.symbol, draft.side, mark, quantity, fee, currency, 0)
        book = apply_trade(book, trade)
    return book


@given(situations(), st.sampled_from([GATE, IDEAL]), st.none() | st.just(D("0.05")))
def test_a_plan_can_always_be_paid_and_leads_towards_its_targets(
    situation: tuple[Book, dict[Symbol, Decimal | None], dict[Symbol, Decimal]],
    markets: Mapping[Symbol, Market],
    rebalance: Decimal | None,
):
    book, targets, marks = situation
    verdict = decide(book, targets, marks, rebalance=rebalance)
    sizing = Sizing.from_json(json.loads(json.dumps(verdict.sizing.to_json())))
    assert sizing == verdict.sizing
    sells = plan_reductions(sizing, book, markets)
    assert all(
        draft.quantity is not None and 0 < draft.quantity <= book.quantity(draft.symbol) for draft in sells.drafts
    )
    sold = fill(book, sells, markets, marks)
    buys = plan_increases(sizing, sold, markets)
    assert all(a.desired <= b.desired for a, b in pairwise(buys.drafts))
    after = fill(sold, buys, markets, marks)
    assert after.cash >= 0
    assert all(after.quantity(symbol) >= 0 for symbol in SYMBOLS)
    assert {decision.symbol for decision in sells.decisions + buys.decisions} <= {aim.symbol for aim in sizing.aims}
    for draft in sells.drafts + buys.drafts:
        market = markets[draft.symbol]
        assert draft.value >= market.min_cost
        assert (draft.cost is None) or draft.cost == market.round_cost(draft.cost)
        assert (draft.quantity is None) or draft.quantity == market.round_quantity(draft.quantity)
    for aim in sizing.aims:
        before, now = (abs(b.quantity(aim.symbol) * aim.mark - aim.target * sizing.equity) for b in (book, after))
        assert now <= before + 2 * aim.mark * markets[aim.symbol].lot + before * D("0.001")
