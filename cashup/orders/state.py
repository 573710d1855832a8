"""The order state machine: a pure function of an order and what was learnt about it.

    PENDING_SEND -> SENDING -> OPEN -> PENDING_CANCEL -> FILLED | CANCELLED
                       |  \\-> UNKNOWN -> OPEN | NOT_PLACED | ...
                       \\----> REJECTED | REJECTED_LOCAL | CANCELLED     PENDING_SEND -> EXPIRED | CANCELLED

`apply` is total: every event is answered in every state. Merging is a join, so order, repetition and delay of messages
do not matter: `filled` is the larger of what the trades sum to and what the venue reports, it never falls, and a
terminal state stays. A fill that comes late is booked all the same. Quantities decide, words only explain.

A cancel and an amendment are wishes until the venue has said what the order then is: `cancelling` and `amending` hold
the wish. Quantity and price follow what the venue shows, the newest word first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from cashup.errors import IntegrityError
from cashup.orders.facts import (
    AmendAnswered,
    AmendLapsed,
    AmendRequested,
    CancelAnswered,
    CancelRefused,
    CancelRequested,
    Claimed,
    Event,
    Lapsed,
    ProvenAbsent,
    Terms,
    Wish,
)
from cashup.types import (
    MONEY,
    ZERO,
    Millis,
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

__all__ = [
    "AmendAnswered",
    "AmendLapsed",
    "AmendRequested",
    "CancelAnswered",
    "CancelRefused",
    "CancelRequested",
    "Claimed",
    "Event",
    "Lapsed",
    "Order",
    "ProvenAbsent",
    "Terms",
    "apply",
]


@dataclass(frozen=True, slots=True)
class Order:
    """What is known of one order. Money in Decimal; `quantity` base, `cost` quote, exactly one of them given.

    `traded` and `spent` sum over the trades that were seen (base, quote), `reported` is the most the venue ever
    reported as filled, `fees` sums the trades' fees per currency. `terms_at` is the venue's time of the word that
    `quantity` and `price` follow, 0 while they are those that were asked for.
    """

    client_order_id: str
    symbol: Symbol
    side: Side
    type: OrderType
    quantity: Decimal | None = None
    cost: Decimal | None = None
    price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.IOC
    state: OrderState = OrderState.PENDING_SEND
    exchange_order_id: str | None = None
    traded: Decimal = ZERO
    spent: Decimal = ZERO
    reported: Decimal = ZERO
    fees: Mapping[str, Decimal] = field(default_factory=dict)
    trade_ids: frozenset[str] = frozenset()
    reason: str = ""
    updated_at: Millis = 0
    cancelling: bool = False
    amending: Terms | None = None
    terms_at: Millis = 0

    @classmethod
    def of(cls, request: OrderRequest) -> Order:
        """The order that `request` starts, not yet sent."""
        return cls(
            client_order_id=request.client_order_id,
            symbol=request.symbol,
            side=request.side,
            type=request.type,
            quantity=request.quantity,
            cost=request.cost,
            price=request.price,
            time_in_force=request.time_in_force,
        )

    @property
    def filled(self) -> Decimal:
        """Base currency executed: the larger of the trades' sum and the venue's word."""
        return max(self.traded, self.reported)

    @property
    def missing(self) -> Decimal:
        """Base currency that the venue reports as filled but whose trades have not been seen; fetch them."""
        return self.filled - self.traded

    @property
    def settled(self) -> bool:
        """True when the order has ended and every trade of it is known."""
        return self.state.terminal and self.missing == 0

    @property
    def contradicted(self) -> bool:
        """True when an order filled that was held to be never placed; stop the account and look."""
        return self.filled > 0 and self.state in _NEVER_PLACED

    @property
    def most(self) -> Decimal | None:
        """The most base currency that the venue may execute, also when an amendment is on its way; None in cost."""
        if self.quantity is None or self.amending is None:
            return self.quantity
        return max(self.quantity, self.amending.quantity)

    @property
    def average_price(self) -> Decimal | None:
        """Quote per base over the trades that were seen."""
        return MONEY.divide(self.spent, self.traded) if self.traded else None


_NEVER_PLACED = frozenset(
    {OrderState.NOT_PLACED, OrderState.REJECTED, OrderState.REJECTED_LOCAL, OrderState.EXPIRED},
)
_UNSETTLED = frozenset({OrderState.PENDING_SEND, OrderState.SENDING, OrderState.UNKNOWN})
"""States in which nothing yet proves that the venue has the order."""


def apply(order: Order, event: Event) -> Order:
    """`order` after `event`. Raises IntegrityError, having changed nothing, for what cannot be true of this order:
    news of another one, a second one on the venue under the same id, or more filled than was ordered."""
    match event:
        case Trade():
            return _traded(order, event)
        case OrderReport():
            return _reported(order, event)
        case SendResult():
            return _answered(order, event)
        case Claimed():
            return _step(order, {OrderState.PENDING_SEND}, OrderState.SENDING)
        case Lapsed():
            return _step(order, {OrderState.PENDING_SEND}, OrderState.EXPIRED, event.reason)
        case ProvenAbsent():
            return _step(order, {OrderState.SENDING, OrderState.UNKNOWN}, OrderState.NOT_PLACED, event.reason)
        case _:
            return _wished(order, event)


def _wished(order: Order, event: Wish) -> Order:
    """`order` after what was wished of it, or what became of a wish."""
    match event:
        case CancelRequested():
            return _cancel(order, event.reason)
        case CancelAnswered():
            return order if event.answer.report is None else _reported(order, event.answer.report)
        case CancelRefused():
            return _keep(order, event.reason)
        case AmendRequested():
            return replace(order, amending=event.terms) if order.state is OrderState.OPEN else order
        case AmendAnswered():
            return _amended(order, event.answer)
        case AmendLapsed():
            return _unamended(order, event.reason)


def _step(order: Order, source: set[OrderState], target: OrderState, reason: str = "") -> Order:
    """`order` in `target` when it is in one of `source`, else unchanged."""
    if order.state not in source:
        return order
    return replace(
        order,
        state=target,
        reason=reason or order.reason,
        cancelling=order.cancelling and not target.terminal,
    )


def _cancel(order: Order, reason: str) -> Order:
    """The order shall end: at once when it was never sent, else as soon as it is known to rest."""
    if order.state is OrderState.PENDING_SEND:
        return replace(order, state=OrderState.CANCELLED, reason=reason)
    if order.state.terminal:
        return order
    state = OrderState.PENDING_CANCEL if order.state is OrderState.OPEN else order.state
    return replace(order, state=state, cancelling=True)


def _keep(order: Order, reason: str) -> Order:
    """Nobody tries to end the order any more."""
    if not order.cancelling:
        return order
    state = OrderState.OPEN if order.state is OrderState.PENDING_CANCEL else order.state
    return replace(order, state=state, cancelling=False, reason=reason or order.reason)


def _amended(order: Order, answer: SendResult) -> Order:
    """The venue's answer to an amendment. Where it proves nothing, the wish stays until the order was read again."""
    if answer.report is not None:
        order = _reported(order, answer.report)
        return _unamended(order, "") if answer.result is ResultClass.ACCEPTED else order
    if answer.result in (ResultClass.REFUSED, ResultClass.NOT_SENT):
        return _unamended(order, answer.message or answer.label)
    return order


def _unamended(order: Order, reason: str) -> Order:
    """No amendment is on its way any more, so the quantity is what it is, and may be filled already."""
    if order.amending is None:
        return order
    order = replace(_settled_terms(order), reason=reason or order.reason)
    return order if order.state.terminal or order.filled == 0 else _alive(order)


def _settled_terms(order: Order) -> Order:
    """Without the amendment that was on its way; it stands when more is filled than the old terms allow."""
    wish = order.amending
    if wish is None:
        return order
    if order.quantity is not None and order.filled > order.quantity:
        return replace(order, quantity=wish.quantity, price=wish.price, amending=None)
    return replace(order, amending=None)


def _answered(order: Order, answer: SendResult) -> Order:
    """One of the five classes in which every placement ends. An order that is proven to exist is not un-placed."""
    unsettled = set(_UNSETTLED)
    reason = answer.message or answer.label
    match answer.result:
        case ResultClass.UNKNOWN:
            return _step(order, unsettled, OrderState.UNKNOWN, reason or "the answer was lost")
        case ResultClass.NOT_SENT:
            return _step(order, unsettled, OrderState.REJECTED_LOCAL, reason or "nothing was sent")
        case ResultClass.REFUSED:
            return _step(order, unsettled, OrderState.REJECTED, reason or "refused by the venue")
        case ResultClass.ENDED_AT_ENTRY:
            if answer.report is not None:
                return _reported(order, replace(answer.report, done=True))
            sources = unsettled | {OrderState.OPEN, OrderState.PENDING_CANCEL} if order.filled == 0 else unsettled
            return _step(order, sources, OrderState.CANCELLED, reason or "ended at entry")
        case ResultClass.ACCEPTED:
            if answer.report is not None:
                return _reported(order, answer.report)
            return _step(order, unsettled, OrderState.OPEN, reason)


def _reported(order: Order, report: OrderReport) -> Order:
    """Merge the venue's word on the order."""
    _same_order(order, report)
    order = _with_terms(order, report)
    _check_filled(order, report.filled)
    order = replace(
        order,
        exchange_order_id=order.exchange_order_id or report.exchange_order_id,
        reported=max(order.reported, report.filled),
        updated_at=max(order.updated_at, report.updated_at),
    )
    if order.state.terminal:
        return order
    if report.done:
        order = _settled_terms(order)
        return replace(order, state=_end_state(order, report), reason=report.reason, cancelling=False)
    return _alive(order)


def _with_terms(order: Order, report: OrderReport) -> Order:
    """Quantity and price as the newest word of the venue has them.

    Of two words of the same millisecond the larger counts, so that it does not matter which came first.
    """
    if report.quantity is None or report.price is None or order.quantity is None or order.price is None:
        return order
    told = (report.updated_at, report.quantity, report.price)
    if told <= (order.terms_at, order.quantity, order.price):
        return order
    wish = order.amending if order.amending != Terms(report.quantity, report.price) else None
    return replace(order, quantity=report.quantity, price=report.price, terms_at=report.updated_at, amending=wish)


def _traded(order: Order, trade: Trade) -> Order:
    """Book one execution; the same trade a second time changes nothing."""
    _same_order(order, trade)
    if trade.trade_id in order.trade_ids:
        return order
    _check_filled(order, order.traded + trade.quantity)
    fees = dict(order.fees)
    fees[trade.fee_currency] = fees.get(trade.fee_currency, ZERO) + trade.fee
    order = replace(
        order,
        exchange_order_id=order.exchange_order_id or trade.exchange_order_id,
        traded=order.traded + trade.quantity,
        spent=order.spent + trade.price * trade.quantity,
        fees=fees,
        trade_ids=order.trade_ids | {trade.trade_id},
        updated_at=max(order.updated_at, trade.time),
    )
    return order if order.state.terminal else _alive(order)


def _alive(order: Order) -> Order:
    """A sign of life: the venue has the order, and it has ended when all of its quantity is filled."""
    most = order.most
    if most is not None and order.filled >= most:
        order = _settled_terms(order)
        return replace(order, state=OrderState.FILLED, reason="filled", cancelling=False)
    if order.state in _UNSETTLED:
        return replace(order, state=OrderState.PENDING_CANCEL if order.cancelling else OrderState.OPEN)
    return order


def _end_state(order: Order, report: OrderReport) -> OrderState:
    """How an order ended. One given in cost has no quantity to compare with, so the venue's word names its end."""
    if order.quantity is not None:
        return OrderState.FILLED if order.filled >= order.quantity else OrderState.CANCELLED
    return OrderState.FILLED if order.filled > 0 and report.reason == "filled" else OrderState.CANCELLED


def _check_filled(order: Order, filled: Decimal) -> None:
    """Raise IntegrityError when more is filled than the order, or its amendment, asks for."""
    most = order.most
    if most is not None and filled > most:
        raise IntegrityError(
            f"{filled} of order {order.client_order_id} are filled, and it asks for {most}; "
            "stop the account and compare"
        )


def _same_order(order: Order, news: OrderReport | Trade) -> None:
    """Raise IntegrityError when the news is about another order."""
    if news.symbol != order.symbol or news.side is not order.side:
        what = f"{news.side} {news.symbol}"
        raise IntegrityError(f"order {order.client_order_id} got news of {what}; it is a {order.side} {order.symbol}")
    if news.client_order_id is not None and news.client_order_id != order.client_order_id:
        raise IntegrityError(f"order {order.client_order_id} got news of {news.client_order_id}")
    if order.exchange_order_id is not None and news.exchange_order_id != order.exchange_order_id:
        raise IntegrityError(
            f"the venue shows two orders, {order.exchange_order_id} and {news.exchange_order_id}, "
            f"for {order.client_order_id}; stop the account and compare"
        )
