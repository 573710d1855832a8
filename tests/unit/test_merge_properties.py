"""The merge of what is learnt of an order, as properties: whatever is lost, late, repeated or reordered.

Every property runs on 200 made-up orders (`CASHUP_PROOF_SCALE` multiplies). `PROPERTIES` names them all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cashup.errors import IntegrityError
from cashup.orders.facts import AmendAnswered, AmendRequested, Terms
from cashup.orders.record import Record, read
from cashup.orders.state import (
    CancelRefused,
    CancelRequested,
    Claimed,
    Event,
    Lapsed,
    Order,
    ProvenAbsent,
    apply,
)
from cashup.types import (
    OrderReport,
    OrderRequest,
    OrderState,
    OrderType,
    ResultClass,
    SendResult,
    Side,
    Symbol,
    TimeInForce,
    Trade,
)
from tests.faults.scale import times

D = Decimal
BTC = Symbol("BTC/USDT")
ID = "t-01HZZZZZZZZZZZZZZZZZZZZZZZ"
VENUE_ID = "77"

PROPERTIES: list[str] = []
"""The names of the properties, as they are defined below."""


def prop(*given_: Any, **named: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A property: listed, and run on 200 examples."""

    def mark(test: Callable[..., None]) -> Callable[..., None]:
        PROPERTIES.append(test.__name__)
        return settings(max_examples=times(200), deadline=None, print_blob=True)(given(*given_, **named)(test))

    return mark


@dataclass(frozen=True)
class Story:
    """What a sound venue says of one order, in the order in which it happened."""

    start: Order
    facts: tuple[OrderReport | Trade, ...]

    @property
    def trades(self) -> list[Trade]:
        return [fact for fact in self.facts if isinstance(fact, Trade)]

    @property
    def reports(self) -> list[OrderReport]:
        return [fact for fact in self.facts if isinstance(fact, OrderReport)]

    @property
    def filled(self) -> Decimal:
        return sum((trade.quantity for trade in self.trades), D(0))

    @property
    def end(self) -> Order:
        return told(self.start, self.facts)


def told(order: Order, facts: Sequence[Event]) -> Order:
    for fact in facts:
        order = apply(order, fact)
    return order


def same(one: Order, other: Order) -> bool:
    """Equal in everything but the words."""
    return replace(one, reason="") == replace(other, reason="")


def report(filled: Decimal, at: int, *, done: bool = False, reason: str = "open", side: Side = Side.BUY) -> OrderReport:
    return OrderReport(ID, VENUE_ID, BTC, side, filled, done, reason, at)


def trade(number: int, quantity: Decimal, price: Decimal, fee: str = "BTC", side: Side = Side.BUY) -> Trade:
    return Trade(str(number), VENUE_ID, ID, BTC, side, price, quantity, quantity / 1000, fee, number)


QUANTITIES = st.integers(1, 400).map(lambda lots: D(lots).scaleb(-2))
PRICES = st.integers(1, 10**6).map(lambda ticks: D(ticks).scaleb(-1))


@st.composite
def stories(draw: st.DrawFn, *, by_cost: bool | None = None, ends: bool = True) -> Story:
    """An order given in base or in quote, on either side, filled in up to six parts, ended or still resting."""
    cost = draw(st.booleans()) if by_cost is None else by_cost
    side = Side.BUY if cost else draw(st.sampled_from(Side))
    fees = draw(st.sampled_from(["BTC", "USDT", "GT"]))
    parts = draw(st.lists(st.tuples(QUANTITIES, PRICES), max_size=6))
    left = draw(st.just(D(0)) | QUANTITIES)
    total = sum((quantity for quantity, _ in parts), D(0))
    if total + left == 0:
        left = D(1)
    start = _start(side, None if cost else total + left, D(10**9) if cost else None)
    facts: list[OrderReport | Trade] = [report(D(0), 1, side=side)]
    filled = D(0)
    for number, (quantity, price) in enumerate(parts, 2):
        filled += quantity
        facts.append(trade(number, quantity, price, fees, side))
        done = filled == total + left
        facts.append(report(filled, number, done=done, reason="filled" if done else "open", side=side))
    if ends and left:
        facts.append(report(filled, 9, done=True, reason="cancelled", side=side))
    return Story(start, tuple(facts))


def _start(side: Side, quantity: Decimal | None, cost: Decimal | None) -> Order:
    kind, price = (OrderType.LIMIT, D(10**6)) if quantity is not None else (OrderType.MARKET, None)
    request = OrderRequest(ID, BTC, side, kind, quantity, cost, price, TimeInForce.GTC)
    return apply(Order.of(request), Claimed())


REPORTS = st.builds(
    report, QUANTITIES, st.integers(1, 9), done=st.booleans(), reason=st.sampled_from(["open", "filled", "ioc"])
)
TRADES = st.builds(trade, st.integers(1, 5), QUANTITIES, PRICES)
ANSWERS = st.builds(SendResult, st.sampled_from(list(ResultClass)), st.none() | REPORTS)
WORDS: list[Event] = [Claimed(), Lapsed(), ProvenAbsent(), CancelRequested(), CancelRefused()]
EVENTS: st.SearchStrategy[Event] = st.sampled_from(WORDS) | ANSWERS | REPORTS | TRADES
STATES = st.sampled_from(list(OrderState))
ENDED = st.sampled_from([state for state in OrderState if state.terminal])


@st.composite
def orders(draw: st.DrawFn) -> Order:
    """An order that has gone through anything at all; of unlimited size, so that no made-up fill is too much."""
    order = replace(_start(Side.BUY, D(10**6), None), state=draw(STATES))
    return told(order, draw(st.lists(EVENTS, max_size=8)))


# -- order, repetition, loss ------------------------------------------------------------------------------------------


@prop(stories(), st.data())
def test_shuffled_news_gives_the_same_order(story: Story, data: st.DataObject) -> None:
    assert same(told(story.start, data.draw(st.permutations(story.facts))), story.end)


@prop(stories(), st.data())
def test_repeated_news_changes_nothing(story: Story, data: st.DataObject) -> None:
    again = data.draw(st.lists(st.sampled_from(story.facts), max_size=8))
    assert same(told(story.end, again), story.end)


@prop(stories(), st.data())
def test_shuffled_and_repeated_news_gives_the_same_order(story: Story, data: st.DataObject) -> None:
    twice = [*story.facts, *data.draw(st.lists(st.sampled_from(story.facts), max_size=8))]
    assert same(told(story.start, data.draw(st.permutations(twice))), story.end)


@prop(stories(), st.data())
def test_lost_trades_converge_in_one_pass_of_backfill(story: Story, data: st.DataObject) -> None:
    kept = [fact for fact in story.facts if isinstance(fact, OrderReport) or data.draw(st.booleans())]
    assert same(told(told(story.start, kept), story.trades), story.end)


@prop(stories(), st.data())
def test_lost_news_of_any_kind_converges_in_one_scan(story: Story, data: st.DataObject) -> None:
    kept = [fact for fact in story.facts if data.draw(st.booleans())]
    scan = [*story.trades, story.reports[-1]]
    assert same(told(told(story.start, kept), scan), story.end)


@prop(stories(), st.data())
def test_a_second_scan_changes_nothing(story: Story, data: st.DataObject) -> None:
    scan = [*story.trades, story.reports[-1]]
    once = told(story.start, scan)
    assert told(once, data.draw(st.permutations(scan))) == once


@prop(stories())
def test_what_was_heard_only_by_scan_is_what_was_heard_live(story: Story) -> None:
    assert same(told(story.start, [*story.trades, story.reports[-1]]), story.end)


@prop(stories(), st.data())
def test_an_older_report_after_a_newer_one_changes_nothing(story: Story, data: st.DataObject) -> None:
    older = data.draw(st.sampled_from(story.reports))
    assert same(apply(story.end, older), story.end)


@prop(stories(), st.data())
def test_an_end_that_comes_before_its_fills_waits_for_them(story: Story, data: st.DataObject) -> None:
    order = apply(story.start, story.reports[-1])
    for part in data.draw(st.permutations(story.trades)):
        assert order.settled is (order.state.terminal and order.traded == story.filled)
        order = apply(order, part)
    assert same(order, story.end)


@prop(stories(), st.data())
def test_the_answer_and_the_frame_are_one_news(story: Story, data: st.DataObject) -> None:
    said = data.draw(st.sampled_from(story.reports))
    answer = SendResult(ResultClass.ACCEPTED, said)
    assert same(apply(story.start, answer), apply(story.start, said))
    assert same(apply(story.end, answer), story.end)


@prop(orders(), REPORTS, REPORTS)
def test_two_reports_commute(order: Order, one: OrderReport, other: OrderReport) -> None:
    assume(one.done == other.done)
    assert same(told(order, [one, other]), told(order, [other, one]))


@prop(orders(), st.lists(TRADES, unique_by=lambda trade: trade.trade_id), st.data())
def test_trades_commute(order: Order, trades: list[Trade], data: st.DataObject) -> None:
    assert same(told(order, trades), told(order, data.draw(st.permutations(trades))))


# -- sums -------------------------------------------------------------------------------------------------------------


@prop(stories())
def test_traded_is_the_sum_of_the_trades(story: Story) -> None:
    assert story.end.traded == story.filled == story.end.filled


@prop(stories())
def test_spent_is_the_sum_of_price_times_quantity(story: Story) -> None:
    assert story.end.spent == sum((trade.price * trade.quantity for trade in story.trades), D(0))


@prop(stories())
def test_fees_are_summed_by_currency(story: Story) -> None:
    expected: dict[str, Decimal] = {}
    for part in story.trades:
        expected[part.fee_currency] = expected.get(part.fee_currency, D(0)) + part.fee
    assert story.end.fees == expected


@prop(stories())
def test_the_average_price_lies_between_the_prices(story: Story) -> None:
    prices = [trade.price for trade in story.trades]
    average = story.end.average_price
    assert (average is None) is (not prices)
    assert average is None or min(prices) <= average <= max(prices)


@prop(orders(), st.lists(EVENTS, max_size=8))
def test_filled_never_falls(order: Order, events: list[Event]) -> None:
    for event in events:
        before, order = order, apply(order, event)
        assert order.filled >= before.filled
        assert order.traded >= before.traded
        assert order.reported >= before.reported


@prop(orders(), st.lists(EVENTS, max_size=8))
def test_what_is_missing_is_never_below_zero(order: Order, events: list[Event]) -> None:
    order = told(order, events)
    assert order.missing == order.filled - order.traded >= 0


@prop(orders(), st.lists(EVENTS, max_size=8))
def test_no_trade_is_forgotten(order: Order, events: list[Event]) -> None:
    ids = {event.trade_id for event in events if isinstance(event, Trade)}
    assert told(order, events).trade_ids == order.trade_ids | ids


@prop(orders(), TRADES)
def test_a_trade_counts_once(order: Order, part: Trade) -> None:
    once = apply(order, part)
    assert once.traded == order.traded + (D(0) if part.trade_id in order.trade_ids else part.quantity)
    assert apply(once, part) == once


@prop(orders(), st.lists(EVENTS, max_size=8))
def test_time_does_not_go_back(order: Order, events: list[Event]) -> None:
    for event in events:
        before, order = order, apply(order, event)
        assert order.updated_at >= before.updated_at


@prop(orders(), st.lists(EVENTS, max_size=8))
def test_the_venues_id_stays(order: Order, events: list[Event]) -> None:
    known = order.exchange_order_id
    assert told(order, events).exchange_order_id in ({known} if known else {None, VENUE_ID})


# -- states -----------------------------------------------------------------------------------------------------------


@prop(orders(), ENDED, st.lists(EVENTS, max_size=8))
def test_an_end_is_an_end(order: Order, state: OrderState, events: list[Event]) -> None:
    assert told(replace(order, state=state), events).state is state


@prop(orders(), ENDED, TRADES)
def test_a_late_fill_is_booked_on_every_end(order: Order, state: OrderState, part: Trade) -> None:
    assume(part.trade_id not in order.trade_ids)
    late = apply(replace(order, state=state), part)
    assert late.traded == order.traded + part.quantity
    assert late.state is state


@prop(orders())
def test_settled_means_ended_and_complete(order: Order) -> None:
    assert order.settled is (order.state.terminal and order.traded >= order.reported)


@prop(orders(), TRADES)
def test_a_fill_of_what_was_never_placed_is_a_contradiction(order: Order, part: Trade) -> None:
    never = {OrderState.NOT_PLACED, OrderState.REJECTED, OrderState.REJECTED_LOCAL, OrderState.EXPIRED}
    assert apply(order, part).contradicted is (order.state in never)


@prop(orders(), st.one_of(REPORTS, TRADES), st.sampled_from(list(ResultClass)))
def test_what_was_seen_is_not_unplaced(order: Order, sign: OrderReport | Trade, result: ResultClass) -> None:
    seen = apply(order, sign)
    never = {OrderState.REJECTED, OrderState.REJECTED_LOCAL, OrderState.NOT_PLACED, OrderState.UNKNOWN}
    after = told(seen, [SendResult(result), ProvenAbsent(), Lapsed()])
    assert after.state is seen.state or after.state not in never


@prop(orders())
def test_a_lost_answer_tells_nothing_of_an_order_that_is_known(order: Order) -> None:
    unsettled = {OrderState.PENDING_SEND, OrderState.SENDING, OrderState.UNKNOWN}
    after = apply(order, SendResult(ResultClass.UNKNOWN))
    assert after == order if order.state not in unsettled else after.state is OrderState.UNKNOWN


@prop(orders())
def test_absence_is_for_orders_whose_fate_is_open(order: Order) -> None:
    after = apply(order, ProvenAbsent())
    open_ended = order.state in {OrderState.SENDING, OrderState.UNKNOWN}
    assert after.state is (OrderState.NOT_PLACED if open_ended else order.state)


@prop(orders())
def test_only_what_waits_is_claimed_or_lapses(order: Order) -> None:
    waits = order.state is OrderState.PENDING_SEND
    assert apply(order, Claimed()).state is (OrderState.SENDING if waits else order.state)
    assert apply(order, Lapsed()).state is (OrderState.EXPIRED if waits else order.state)


@prop(stories(by_cost=False))
def test_an_order_is_filled_when_all_of_it_is(story: Story) -> None:
    whole = story.filled == story.start.quantity
    assert (story.end.state is OrderState.FILLED) is whole
    assert (told(story.start, story.trades).state is OrderState.FILLED) is whole


@prop(stories(by_cost=False), st.sampled_from(["filled", "ioc", "cancelled", "stp", "small", "unknown"]))
def test_quantities_decide_and_words_explain(story: Story, reason: str) -> None:
    last = replace(story.reports[-1], reason=reason)
    assert same(told(story.start, [*story.trades, last]), told(story.start, [*story.trades, story.reports[-1]]))


@prop(stories(by_cost=True, ends=False))
def test_an_order_in_cost_does_not_end_by_its_trades(story: Story) -> None:
    assert told(story.start, story.trades).state in {OrderState.OPEN, OrderState.SENDING}


@prop(stories(by_cost=True), st.data())
def test_an_order_in_cost_that_ends_without_a_fill_was_not_filled(story: Story, data: st.DataObject) -> None:
    word = data.draw(st.sampled_from(["filled", "ioc"]))
    empty = apply(story.start, report(D(0), 9, done=True, reason=word))
    assert (empty.state, empty.settled) == (OrderState.CANCELLED, True)


@prop(stories(ends=False))
def test_a_refused_cancel_leaves_the_order_as_it_was(story: Story) -> None:
    assert same(told(story.end, [CancelRequested(), CancelRefused()]), story.end)


@prop(stories(ends=False), st.data())
def test_a_cancel_on_its_way_does_not_change_how_it_ends(story: Story, data: st.DataObject) -> None:
    rest = [report(story.filled, 9, done=True, reason="cancelled", side=story.start.side)]
    position = data.draw(st.integers(0, len(story.facts)))
    facts: list[Event] = [*story.facts[:position], CancelRequested(), *story.facts[position:], *rest]
    assert same(told(story.start, facts), told(story.start, [*story.facts, *rest]))


@prop(orders(), EVENTS)
def test_every_event_is_answered(order: Order, event: Event) -> None:
    assert isinstance(apply(order, event), Order)


@prop(
    orders(),
    st.one_of(REPORTS, TRADES),
    st.sampled_from([{"symbol": Symbol("ETH/USDT")}, {"side": Side.SELL}, {"client_order_id": "t-other"}]),
)
def test_news_of_another_order_is_refused(order: Order, news: Any, change: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError):
        apply(order, replace(news, **change))


# -- amendments -------------------------------------------------------------------------------------------------------


def termed(filled: int, at: int, quantity: int, price: int) -> OrderReport:
    """A report that also says what the order's terms are."""
    return replace(report(D(filled), at), quantity=D(quantity), price=D(price))


AMENDED = st.builds(termed, st.just(0), st.integers(2, 9), st.integers(10, 20), st.integers(90, 110))


@prop(st.lists(AMENDED, min_size=1, max_size=5), st.data())
def test_the_terms_are_those_of_the_newest_word_whatever_comes_first(said: list[Any], data: st.DataObject) -> None:
    start = _start(Side.BUY, D(15), None)
    straight, shuffled = told(start, said), told(start, data.draw(st.permutations(said)))
    assert (straight.quantity, straight.price) == (shuffled.quantity, shuffled.price)
    newest = max((one.updated_at, one.quantity, one.price) for one in said)
    assert (straight.quantity, straight.price) == newest[1:]


@prop(st.integers(10, 20).map(D), st.integers(90, 110).map(D), st.sampled_from(list(ResultClass)))
def test_an_amendment_on_its_way_counts_with_the_larger_until_it_is_answered(
    quantity: Decimal, price: Decimal, result: ResultClass
) -> None:
    resting = apply(_start(Side.BUY, D(15), None), report(D(0), 1))
    asked = apply(resting, AmendRequested(Terms(quantity, price)))
    assert asked.most == max(D(15), quantity)
    after = apply(asked, AmendAnswered(SendResult(result)))
    proven = result in {ResultClass.REFUSED, ResultClass.NOT_SENT}
    assert after.most == (D(15) if proven else asked.most)
    assert (after.quantity, after.state) == (D(15), OrderState.OPEN)


# -- storage ----------------------------------------------------------------------------------------------------------


@prop(stories(), st.data())
def test_an_order_read_back_goes_on_as_if_it_had_not_been_stored(story: Story, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(story.facts)))
    half = told(story.start, story.facts[:position])
    record = Record(half, "main", "demo", "1", 1, "USDT", D(1), {}, 1, 1)
    row = record.new_row() | {"claimed_at": 1, "send_before": 2, "evidence": None}
    row |= {"fees": {asset: str(fee) for asset, fee in half.fees.items()}}
    stored = read(row, half.trade_ids).order
    assert replace(stored, updated_at=0) == replace(half, updated_at=0)
    assert told(stored, story.facts[position:]).filled == story.end.filled


def test_the_properties_are_thirty_or_more() -> None:
    assert len(set(PROPERTIES)) == len(PROPERTIES) >= 30
    assert set(PROPERTIES) < set(globals())
