"""At the entry of a venue in memory: what it refuses, with Gate's labels, and what an order must hold to be taken."""

from __future__ import annotations

from decimal import Decimal

from cashup.exchanges.matching import Matcher
from cashup.types import ZERO, FeeIn, Millis, OrderRequest, OrderType, ResultClass, SendResult, Side


def refusal(matcher: Matcher | None, request: OrderRequest, now: Millis) -> tuple[str, str] | None:
    """Gate's label and a sentence when the venue would not take the order, whatever the balance."""
    if matcher is None:
        return "INVALID_CURRENCY_PAIR", f"{request.symbol} does not trade here"
    if request.expires_at is not None and now > request.expires_at:
        return "REQUEST_EXPIRED", "the request came after its own deadline"
    market = matcher.market
    amount = request.cost if request.cost is not None else request.quantity or ZERO
    on_grid = market.round_cost(amount) if request.cost is not None else market.round_quantity(amount)
    if amount != on_grid or (request.price is not None and market.round_price(request.price) != request.price):
        return "INVALID_PRECISION", f"the order is not on the steps of {request.symbol}"
    price = request.price or matcher.price or ZERO
    value = amount if request.cost is not None else amount * price
    if amount <= 0 or value < market.min_cost or (request.cost is None and amount < market.min_quantity):
        return "AMOUNT_TOO_LITTLE", f"the order is below the minimum of {request.symbol}"
    return None


def needs(matcher: Matcher, request: OrderRequest) -> tuple[str, Decimal]:
    """The asset an order is paid with, and the most it may take of it, fee included."""
    market = matcher.market
    if market.contract:  # held on margin, which the risk checks watch: nothing is paid in advance
        return market.quote, ZERO
    if request.side is Side.SELL:
        return market.base, request.quantity or ZERO
    cost = request.cost
    if cost is None:
        price = request.price if request.type is OrderType.LIMIT else matcher.taker_price(Side.BUY)
        cost = (request.quantity or ZERO) * (price or ZERO)
    if market.fee_in is FeeIn.RECEIVED:
        return market.quote, cost
    may_rest = request.type is OrderType.LIMIT
    fee = max(market.taker_fee, market.maker_fee) if may_rest else market.taker_fee
    return market.quote, cost * (1 + fee)


def gone(order_id: str, reason: str | None) -> SendResult:
    """What the venue answers about an order that does not rest: it ended with `reason`, or never was (None)."""
    if reason is None:
        return SendResult(ResultClass.UNKNOWN, label="ORDER_NOT_FOUND", message=f"there is no order {order_id}")
    label = "ORDER_CLOSED" if reason == "filled" else "ORDER_CANCELLED"
    return SendResult(ResultClass.UNKNOWN, label=label, message=f"order {order_id} is {reason}")
