"""The order state machine: total, monotonic, indifferent to order and repetition of what it is told."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cashup.errors import IntegrityError
from cashup.orders.state import (
    AmendAnswered,
    AmendLapsed,
    AmendRequested,
    CancelAnswered,
    CancelRefused,
    CancelRequested,
    Claimed,
    Event,
    Lapsed,
    Order,
    ProvenAbsent,
    Terms,
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
    Trade,
)

BTC = Symbol("BTC/USDT")
ID = "t-01HZZZZZZZZZZZZZZZZZZZZZZZ"


def an_order(quantity: str | None = "10", cost: str | None = None) -> Order:
    return Order.of(
        OrderRequest(
            client_order_id=ID,
            symbol=BTC,
            side=Side.BUY,
            type=OrderType.MARKET,
            quantity=Decimal(quantity) if quantity else None,
            cost=Decimal(cost) if cost else None,
        )
    )


def a_trade(number: int, quantity: str | Decimal, price: str = "100") -> Trade:
    return Trade(f"{number}", "77", ID, BTC, Side.BUY, Decimal(price), Decimal(quantity), Decimal("0.1"), "BTC", number)


def a_report(filled: str | Decimal, *, done: bool = False, reason: str = "open") -> OrderReport:
    return OrderReport(ID, "77", BTC, Side.BUY, Decimal(filled), done, reason, 5)


def sent(**how: str | None) -> Order:
    return apply(an_order(**how), Claimed())


def told(order: Order, event: Event) -> Order:
    """`order` after `event`; unchanged when the event says that more was filled than the order asks for."""
    try:
        return apply(order, event)
    except IntegrityError:
        assert order.quantity is not None
        return order


REPORTS = st.builds(
    a_report,
    st.integers(0, 12).map(Decimal),
    done=st.booleans(),
    reason=st.sampled_from(["open", "filled", "cancelled", "ioc"]),
)
ANSWERS = st.builds(SendResult, st.sampled_from(list(ResultClass)), st.none() | REPORTS)
TRADES = st.builds(a_trade, st.integers(1, 4), st.integers(1, 3).map(Decimal))
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.just(Claimed()),
    st.just(Lapsed()),
    st.just(ProvenAbsent()),
    st.just(CancelRequested()),
    st.just(CancelRefused()),
    ANSWERS,
    REPORTS,
    TRADES,
    ANSWERS.map(CancelAnswered),
    ANSWERS.map(AmendAnswered),
    st.just(AmendLapsed()),
    st.builds(Terms, st.integers(1, 20).map(Decimal), st.just(Decimal(90))).map(AmendRequested),
)
ORDERS = st.builds(
    lambda order, state: replace(order, state=state),
    st.sampled_from([an_order(), an_order(None, "1000")]),
    st.sampled_from(list(OrderState)),
)


@given(ORDERS, st.lists(EVENTS, max_size=12))
def test_every_event_is_answered_in_every_state_and_nothing_known_is_forgotten(order: Order, events: list[Event]):
    for event in events:
        before, order = order, told(order, event)
        assert order.filled >= before.filled
        assert order.traded >= before.traded
        assert order.trade_ids >= before.trade_ids
        assert order.exchange_order_id == (before.exchange_order_id or order.exchange_order_id)
        if before.state.terminal:
            assert order.state is before.state


@given(ORDERS, st.lists(EVENTS, max_size=8), EVENTS)
def test_an_event_told_twice_is_told_once(order: Order, events: list[Event], event: Event):
    for earlier in events:
        order = told(order, earlier)
    once = told(order, event)
    assert told(once, event) == once


@st.composite
def histories(draw: st.DrawFn) -> tuple[Order, list[OrderReport | Trade], Decimal]:
    """What a correct venue says of one order, in the order in which it happened, and what it filled."""
    parts = draw(st.lists(st.integers(1, 4), max_size=5))
    quantity = sum(parts) + draw(st.integers(0, 3))
    filled = Decimal(0)
    news: list[OrderReport | Trade] = [a_report(0)]
    for number, part in enumerate(parts):
        filled += part
        news += [a_trade(number, Decimal(part)), a_report(filled)]
    news.append(a_report(filled, done=True, reason="filled" if filled == quantity else "cancelled"))
    return sent(quantity=str(max(quantity, 1))), news, filled


@given(histories(), st.data())
def test_any_order_and_repetition_of_the_same_news_gives_the_same_order(
    history: tuple[Order, list[OrderReport | Trade], Decimal], data: st.DataObject
):
    start, news, filled = history
    straight = start
    for item in news:
        straight = apply(straight, item)
    assert straight.settled
    assert straight.filled == filled
    assert straight.state is (OrderState.FILLED if filled == straight.quantity else OrderState.CANCELLED)
    again = data.draw(st.lists(st.sampled_from(news), max_size=4))
    shuffled = start
    for item in data.draw(st.permutations(news + again)):
        shuffled = apply(shuffled, item)
    assert replace(shuffled, reason="") == replace(straight, reason="")


@given(histories(), st.data())
def test_trades_that_were_lost_show_as_missing_until_they_are_fetched(
    history: tuple[Order, list[OrderReport | Trade], Decimal], data: st.DataObject
):
    order, news, filled = history
    trades = [item for item in news if isinstance(item, Trade)]
    lost = data.draw(st.sets(st.sampled_from(trades))) if trades else set()
    for item in news:
        if item not in lost:
            order = apply(order, item)
    assert order.filled == filled
    assert order.missing == sum((trade.quantity for trade in lost), Decimal(0))
    assert order.settled is (not lost)
    for trade in lost:
        order = apply(order, trade)
    assert order.settled


@pytest.mark.parametrize(
    ("result", "state"),
    [
        (ResultClass.NOT_SENT, OrderState.REJECTED_LOCAL),
        (ResultClass.REFUSED, OrderState.REJECTED),
        (ResultClass.ENDED_AT_ENTRY, OrderState.CANCELLED),
        (ResultClass.ACCEPTED, OrderState.OPEN),
        (ResultClass.UNKNOWN, OrderState.UNKNOWN),
    ],
)
def test_each_class_of_answer_has_its_state(result: ResultClass, state: OrderState):
    assert apply(sent(), SendResult(result)).state is state


@pytest.mark.parametrize("result", list(ResultClass))
def test_an_answer_does_not_undo_a_fill_that_came_first(result: ResultClass):
    order = apply(apply(sent(), a_trade(1, "4")), SendResult(result))
    assert order.state is OrderState.OPEN
    assert order.filled == 4


def test_a_claim_is_for_orders_that_were_not_sent():
    assert sent().state is OrderState.SENDING
    assert apply(apply(an_order(), Lapsed()), Claimed()).state is OrderState.EXPIRED
    assert apply(sent(), Lapsed()).state is OrderState.SENDING


def test_absence_ends_an_unknown_order_but_not_one_that_was_seen():
    unknown = apply(sent(), SendResult(ResultClass.UNKNOWN))
    assert apply(unknown, ProvenAbsent()).state is OrderState.NOT_PLACED
    assert apply(apply(unknown, a_report(0)), ProvenAbsent()).state is OrderState.OPEN


def test_a_late_fill_is_booked_on_an_order_held_to_be_never_placed_and_shows_as_a_contradiction():
    order = apply(apply(sent(), SendResult(ResultClass.UNKNOWN)), ProvenAbsent())
    assert not order.contradicted
    order = apply(order, a_trade(1, "3"))
    assert order.state is OrderState.NOT_PLACED
    assert order.traded == 3
    assert order.contradicted


def test_a_failed_cancel_leaves_the_order_open():
    order = apply(apply(sent(), a_report(0)), CancelRequested())
    assert order.state is OrderState.PENDING_CANCEL
    assert apply(order, CancelRefused()).state is OrderState.OPEN
    assert apply(order, a_report(4, done=True, reason="cancelled")).state is OrderState.CANCELLED


def test_an_order_in_cost_ends_with_the_venues_word():
    order = sent(quantity=None, cost="1000")
    assert apply(order, a_trade(1, "9")).state is OrderState.OPEN
    assert apply(order, a_report(9, done=True, reason="filled")).state is OrderState.FILLED
    assert apply(order, a_report(9, done=True, reason="ioc")).state is OrderState.CANCELLED
    assert apply(order, a_report(0, done=True, reason="filled")).state is OrderState.CANCELLED


def test_trades_sum_up():
    order = apply(apply(sent(), a_trade(1, "4", "100")), a_trade(2, "6", "110"))
    assert order.state is OrderState.FILLED
    assert order.spent == 1060
    assert order.average_price == 106
    assert order.fees == {"BTC": Decimal("0.2")}


@pytest.mark.parametrize(
    "change",
    [
        {"symbol": Symbol("ETH/USDT")},
        {"side": Side.SELL},
        {"client_order_id": "t-another"},
        {"exchange_order_id": "78"},
    ],
)
def test_news_of_another_order_is_an_error(change: dict[str, object]):
    order = apply(sent(), a_report(0))
    with pytest.raises(IntegrityError):
        apply(order, replace(a_trade(1, "1"), **change))
    with pytest.raises(IntegrityError):
        apply(order, replace(a_report(1), **change))


# -- everything in every state -------------------------------------------------------------------------------------

QUANTITIES = [Decimal(0), Decimal(4), Decimal(10), Decimal(11)]
WORDS = ["open", "filled", "cancelled", "ioc"]
TOLD: list[OrderReport] = [
    a_report(filled, done=done, reason=reason) for filled in QUANTITIES for done in (False, True) for reason in WORDS
]
SAID = [SendResult(result, report) for result in ResultClass for report in (None, *TOLD)]
EVERYTHING: list[Event] = [
    Claimed(),
    Lapsed(),
    ProvenAbsent(),
    CancelRequested(),
    CancelRefused(),
    *(AmendRequested(Terms(quantity, Decimal(90))) for quantity in QUANTITIES[1:]),
    AmendLapsed(),
    *TOLD,
    *(a_trade(9, quantity) for quantity in QUANTITIES[1:]),
    *SAID,
    *map(CancelAnswered, SAID),
    *map(AmendAnswered, SAID),
]
STARTS = [
    replace(start, state=state, traded=known, reported=known, cancelling=cancelling, amending=amending)
    for start in (an_order(), an_order(None, "1000"))
    for state in OrderState
    for known in QUANTITIES[:3]
    for cancelling in (False, True)
    for amending in (None, Terms(Decimal(12), Decimal(90)))
]


def overfills(order: Order, event: Event) -> bool:
    """The event says that more was filled than the order and its amendment ask for."""
    most = order.most
    match event:
        case Trade():
            filled = order.traded + event.quantity
        case OrderReport():
            filled = event.filled
        case (
            SendResult(report=report)
            | CancelAnswered(SendResult(report=report))
            | AmendAnswered(SendResult(report=report))
        ):
            takes = not isinstance(event, SendResult) or event.result in (
                ResultClass.ACCEPTED,
                ResultClass.ENDED_AT_ENTRY,
            )
            filled = report.filled if report is not None and takes else Decimal(0)
        case _:
            return False
    return most is not None and filled > most


def test_every_event_in_every_state_keeps_what_must_hold():
    refused = 0
    for order in STARTS:
        for event in EVERYTHING:
            if overfills(order, event):
                refused += 1
                with pytest.raises(IntegrityError, match="stop the account"):
                    apply(order, event)
                continue
            after = apply(order, event)
            assert after.filled >= order.filled
            assert after.traded == order.traded + (event.quantity if isinstance(event, Trade) else 0)
            assert after.most is None or after.filled <= after.most
            if order.state.terminal:
                assert after.state is order.state
                assert isinstance(event, OrderReport | Trade | SendResult | CancelAnswered | AmendAnswered) or (
                    replace(after, reason="", amending=None, cancelling=False)
                    == replace(order, reason="", amending=None, cancelling=False)
                )
            if order.state is not OrderState.PENDING_SEND:
                assert after.state is not OrderState.PENDING_SEND
            if after.state is OrderState.SENDING and order.state is not OrderState.SENDING:
                assert (order.state, event) == (OrderState.PENDING_SEND, Claimed())
            if after.state is OrderState.NOT_PLACED and not order.state.terminal:
                assert isinstance(event, ProvenAbsent)
    assert len(STARTS) * len(EVERYTHING) > 100_000
    assert refused > 1000


# -- cancels and amendments ----------------------------------------------------------------------------------------


def resting(quantity: str = "10", price: str = "100") -> Order:
    """A limit order that the venue has."""
    request = OrderRequest(ID, BTC, Side.BUY, OrderType.LIMIT, quantity=Decimal(quantity), price=Decimal(price))
    return apply(apply(Order.of(request), Claimed()), SendResult(ResultClass.ACCEPTED, with_terms(1, quantity, price)))


def with_terms(at: int, quantity: str, price: str, filled: str = "0") -> OrderReport:
    return OrderReport(
        ID, "77", BTC, Side.BUY, Decimal(filled), False, "open", at, quantity=Decimal(quantity), price=Decimal(price)
    )


TO_TWELVE = AmendRequested(Terms(Decimal(12), Decimal(90)))
LOST = SendResult(ResultClass.UNKNOWN, message="reset")


def test_an_order_that_was_not_sent_is_cancelled_at_once():
    order = apply(an_order(), CancelRequested())
    assert order.state is OrderState.CANCELLED
    assert apply(order, Claimed()).state is OrderState.CANCELLED


@pytest.mark.parametrize("answer", [SendResult(ResultClass.UNKNOWN), SendResult(ResultClass.ACCEPTED, a_report(0))])
def test_a_cancel_that_comes_before_the_answer_waits_until_the_order_is_known_to_rest(answer: SendResult):
    order = apply(apply(sent(), CancelRequested()), answer)
    assert order.state is (OrderState.UNKNOWN if answer.report is None else OrderState.PENDING_CANCEL)
    assert apply(order, a_report(0)).state is OrderState.PENDING_CANCEL
    assert apply(order, ProvenAbsent()).cancelling is (order.state is OrderState.PENDING_CANCEL)


def test_a_lost_cancel_leaves_the_order_pending_and_a_race_ends_filled():
    order = apply(resting(), CancelRequested())
    assert apply(order, CancelAnswered(LOST)) == order
    filled = apply(order, a_report(10, done=True, reason="filled"))
    assert (filled.state, filled.cancelling) == (OrderState.FILLED, False)


def test_an_amendment_holds_the_larger_quantity_until_the_answer():
    order = apply(resting(), TO_TWELVE)
    assert (order.quantity, order.most) == (10, 12)
    assert apply(apply(order, a_trade(1, "10")), a_trade(2, "1")).state is OrderState.OPEN  # the new terms may stand
    answered = apply(order, AmendAnswered(SendResult(ResultClass.ACCEPTED, with_terms(2, "12", "90"))))
    assert (answered.quantity, answered.price, answered.amending) == (12, 90, None)


@pytest.mark.parametrize("result", [ResultClass.REFUSED, ResultClass.NOT_SENT])
def test_a_refused_amendment_changes_nothing(result: ResultClass):
    assert replace(apply(apply(resting(), TO_TWELVE), AmendAnswered(SendResult(result))), reason="") == resting()


def test_a_lost_answer_to_an_amendment_is_settled_by_what_the_order_says():
    order = apply(apply(resting(), TO_TWELVE), AmendAnswered(LOST))
    assert order.amending is not None
    shown = apply(order, with_terms(2, "12", "90"))
    assert (shown.quantity, shown.price, shown.amending) == (12, 90, None)
    assert apply(order, AmendLapsed()).amending is None


def test_an_older_word_does_not_bring_old_terms_back():
    order = apply(apply(resting(), TO_TWELVE), with_terms(5, "12", "90"))
    assert apply(order, with_terms(4, "10", "100")) == order


def test_an_amendment_that_failed_while_all_was_filled_ends_the_order():
    order = apply(apply(resting(), TO_TWELVE), a_trade(1, "10"))
    assert order.state is OrderState.OPEN
    assert apply(order, AmendAnswered(SendResult(ResultClass.REFUSED))).state is OrderState.FILLED


@given(st.permutations([with_terms(1, "10", "100"), with_terms(2, "12", "90"), with_terms(2, "11", "95")]))
def test_terms_do_not_depend_on_the_order_of_the_words(words: list[OrderReport]):
    order = sent()
    order = apply(
        Order.of(OrderRequest(ID, BTC, Side.BUY, OrderType.LIMIT, Decimal(10), price=Decimal(100))), Claimed()
    )
    for word in words:
        order = apply(order, word)
    assert (order.quantity, order.price, order.terms_at) == (12, 90, 2)
