"""Round trips: a position from the first entry until it is flat again, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from cashup.types import MONEY, ZERO, Market, Millis, Side, Symbol, Trade


@dataclass(frozen=True, slots=True)
class ClosedTrade:
    """A position that is flat again. `entered` is what it was entered for and `profit` what came of it (quote, after
    fees); `reason` why it was left: `target`, `order` (by hand), `flatten` (by an operator), or the name of a stop.
    """

    symbol: Symbol
    side: Side
    opened_at: Millis
    closed_at: Millis
    entered: Decimal
    profit: Decimal
    reason: str = "target"

    @property
    def ratio(self) -> Decimal:
        """The profit as a ratio of what was entered."""
        return MONEY.divide(self.profit, self.entered) if self.entered else ZERO


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """A position on its way: `quantity` is base currency (below zero: short), the money is quote after fees."""

    symbol: Symbol
    opened_at: Millis
    quantity: Decimal = ZERO
    paid: Decimal = ZERO
    received: Decimal = ZERO

    def closed(self, side: Side, price: Decimal, at: Millis, reason: str) -> ClosedTrade:
        """The trade that it made; what is left of it is worth `price`."""
        profit = self.received - self.paid + self.quantity * price
        entered = self.paid if side is Side.BUY else self.received
        return ClosedTrade(self.symbol, side, self.opened_at, at, entered, profit, reason)


def trip_after(
    trip: RoundTrip | None, trade: Trade, market: Market, reason: str = "target"
) -> tuple[RoundTrip | None, ClosedTrade | None]:
    """What one execution makes of the position in its symbol, and the trade that it closes.

    What is too little for the venue to take does not keep a trip going. An execution beyond zero ends one trip and
    begins the next.
    """
    sign = 1 if trade.side is Side.BUY else -1
    if trip is None or trip.quantity * sign >= 0:
        return _with(trip or RoundTrip(trade.symbol, trade.time), trade, market), None
    beyond = trade.quantity - abs(trip.quantity)
    closing = _share(trade, abs(trip.quantity)) if market.contract and beyond > 0 else trade
    side = Side.SELL if trade.side is Side.BUY else Side.BUY
    trip = _with(trip, closing, market)
    if not _is_dust(trip.quantity * -sign, trade.price, market):
        return trip, None
    done = trip.closed(side, trade.price, trade.time, reason)
    if closing is trade:
        return None, done
    return _with(RoundTrip(trade.symbol, trade.time), _share(trade, beyond), market), done


def _with(trip: RoundTrip, trade: Trade, market: Market) -> RoundTrip:
    value = trade.price * trade.quantity
    base_fee = trade.fee if trade.fee_currency == market.base else ZERO
    quote_fee = trade.fee if trade.fee_currency == market.quote else ZERO
    if trade.side is Side.BUY:
        return replace(trip, quantity=trip.quantity + trade.quantity - base_fee, paid=trip.paid + value + quote_fee)
    return replace(trip, quantity=trip.quantity - trade.quantity - base_fee, received=trip.received + value - quote_fee)


def _share(trade: Trade, quantity: Decimal) -> Trade:
    """A part of an execution, with its part of the fee."""
    return replace(trade, quantity=quantity, fee=MONEY.divide(trade.fee * quantity, trade.quantity))


def _is_dust(left: Decimal, price: Decimal, market: Market) -> bool:
    """True for what is nothing, or less than the venue takes."""
    whole = market.round_quantity(left) if left > 0 else ZERO
    return whole <= 0 or whole < market.min_quantity or whole * price < market.min_cost
