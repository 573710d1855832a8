"""Matching: what a venue does with an order, without any I/O.

One `Matcher` is the order book of one symbol. It holds the orders that rest and a synthetic market: a price at which
somebody buys and sells, with unlimited or limited `liquidity` (base currency). Orders match by price, then by time.
Replay, paper accounts and the simulator all use this file, so a quantity or a fee is computed in one place only.

Fees are `amount * rate`, never rounded: `FeeIn.QUOTE` takes price * quantity * rate in quote currency on both sides,
`FeeIn.RECEIVED` takes quantity * rate in base on a buy and price * quantity * rate in quote on a sell.
A market buy is given in quote: it gets the whole lots that `cost / price` pays for, and what is left stays unspent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Context, Decimal

from cashup.types import ZERO, Candle, FeeIn, Market, OrderRequest, OrderType, Side, TimeInForce

DOWN = Context(prec=28, rounding=ROUND_DOWN)
"""What money pays for is cut, never rounded up: quantity * price <= cost holds exactly."""


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution of one order. `fee` is positive; `fee_currency` is the market's base or quote."""

    order_id: str
    side: Side
    price: Decimal
    quantity: Decimal
    fee: Decimal
    fee_currency: str
    maker: bool


@dataclass(slots=True)
class MatchOrder:
    """An order as the matcher keeps it; the matcher updates everything below `price`.

    `filled` is base currency, `spent` is price * quantity summed over the fills. `reason` is Gate's word for how it
    stands: open, filled, cancelled, ioc, fok, poc or depth_not_enough.
    """

    id: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce = TimeInForce.GTC
    quantity: Decimal | None = None
    cost: Decimal | None = None
    price: Decimal | None = None
    filled: Decimal = ZERO
    spent: Decimal = ZERO
    done: bool = False
    reason: str = "open"

    @classmethod
    def of(cls, order_id: str, request: OrderRequest) -> MatchOrder:
        """The order that `request` asks for, under the venue's own id."""
        return cls(
            id=order_id,
            side=request.side,
            type=request.type,
            time_in_force=request.time_in_force,
            quantity=request.quantity,
            cost=request.cost,
            price=request.price,
        )

    @property
    def left(self) -> Decimal:
        """What is not executed: base currency, or quote currency for an order that was given in cost."""
        if self.quantity is not None:
            return self.quantity - self.filled
        return (self.cost or ZERO) - self.spent


@dataclass(frozen=True, slots=True)
class _Level:
    """One thing an incoming order can trade with: a resting order, or the synthetic market (`maker` None)."""

    price: Decimal
    available: Decimal | None
    maker: MatchOrder | None


def fee_of(
    market: Market, side: Side, price: Decimal, quantity: Decimal, *, maker: bool = False
) -> tuple[Decimal, str]:
    """The fee of one execution and its currency."""
    rate = market.maker_fee if maker else market.taker_fee
    if market.fee_in is FeeIn.RECEIVED and side is Side.BUY:
        return quantity * rate, market.base
    return price * quantity * rate, market.quote


def quantity_for(market: Market, cost: Decimal, price: Decimal) -> Decimal:
    """The whole lots that `cost` (quote currency, fee not included) pays for at `price`."""
    return market.round_quantity(DOWN.divide(cost, price))


def waypoints(candle: Candle, seen: Candle | None = None) -> list[Decimal]:
    """The prices a market passes through on the way to a candle's close.

    It goes away from where it ends first: a rising bar sees its low before its high. `seen` is what was known of the
    same bar before: then only a new low and a new high are passed, else the way begins at the open.
    """
    start = candle.open if seen is None else seen.close
    low = [candle.low] if seen is None or candle.low < seen.low else []
    high = [candle.high] if seen is None or candle.high > seen.high else []
    extremes = [*low, *high] if candle.close >= start else [*high, *low]
    return [start, *extremes, candle.close] if seen is None else [*extremes, candle.close]


class Matcher:
    """The order book of one symbol against a synthetic market.

    `slippage` (a fraction) moves the synthetic price against whoever takes from it: buys pay price * (1 + slippage).
    """

    def __init__(self, market: Market, *, slippage: Decimal = ZERO) -> None:
        self.market = market
        self.slippage = slippage
        self.price: Decimal | None = None
        self.liquidity: Decimal | None = None
        self._resting: dict[str, MatchOrder] = {}

    @property
    def resting(self) -> Sequence[MatchOrder]:
        """Every order that rests, oldest first."""
        return tuple(self._resting.values())

    def get(self, order_id: str) -> MatchOrder | None:
        """The resting order with this id."""
        return self._resting.get(order_id)

    def taker_price(self, side: Side) -> Decimal | None:
        """What the synthetic market asks of a buyer or pays to a seller; None before the first price."""
        if self.price is None or self.slippage == 0:
            return self.price
        factor = 1 + self.slippage if side is Side.BUY else 1 - self.slippage
        return self.market.round_price(self.price * factor)

    def move(self, price: Decimal, liquidity: Decimal | None = None) -> list[Fill]:
        """The market trades at `price` now, with `liquidity` (None: without end); the fills of resting orders."""
        self.price, self.liquidity = price, liquidity
        fills: list[Fill] = []
        for side in (Side.BUY, Side.SELL):
            for order in self._by_priority(side):
                if self.liquidity == 0 or not _crosses(side, _limit(order), price):
                    break
                quantity = order.left if self.liquidity is None else min(order.left, self.liquidity)
                self._take_liquidity(quantity)
                fills.append(self._execute(order, _limit(order), quantity, maker=True))
        return fills

    def submit(self, order: MatchOrder) -> list[Fill]:
        """Match an incoming order; what may rest then rests. The fills of both sides, in the order they happened."""
        plan, complete = self._plan(order)
        if order.time_in_force is TimeInForce.POST_ONLY and plan:
            return self._end(order, "poc")
        if order.time_in_force is TimeInForce.FOK and not complete:
            return self._end(order, "fok")
        fills: list[Fill] = []
        for level, quantity in plan:
            fills.append(self._execute(order, level.price, quantity, maker=False))
            if level.maker is None:
                self._take_liquidity(quantity)
            else:
                fills.append(self._execute(level.maker, level.price, quantity, maker=True))
        if not order.done:
            self._settle(order, complete)
        return fills

    def restore(self, order: MatchOrder) -> None:
        """Let an order rest that rested before this matcher was made."""
        self._resting[order.id] = order

    def cancel(self, order_id: str) -> MatchOrder | None:
        """Take a resting order out; None when no such order rests."""
        order = self._resting.pop(order_id, None)
        if order is not None:
            order.done, order.reason = True, "cancelled"
        return order

    def takes(self, order: MatchOrder) -> bool:
        """True when the order would trade at once."""
        return bool(self._plan(order)[0])

    def amend(self, order_id: str, *, quantity: Decimal, price: Decimal) -> list[Fill]:
        """Give a resting order another quantity (what is filled included) and price; the fills that follow.

        Only an order that shrinks at its price keeps its place in the queue; any other one is matched as if it had just
        come in. Shrunk to what is filled it is done; raises ValueError below that, and when it does not rest.
        """
        order = self._resting.get(order_id)
        if order is None or quantity < order.filled:
            raise ValueError(f"order {order_id} does not rest, or has filled more than {quantity}")
        keeps_place = price == order.price and quantity <= (order.quantity or ZERO)
        order.quantity, order.price = quantity, price
        if order.filled == quantity:
            return self._end(order, "filled")
        if keeps_place:
            return []
        del self._resting[order_id]
        return self.submit(order)

    def _settle(self, order: MatchOrder, complete: bool) -> None:
        """An incoming order has traded what it could: it ends or rests."""
        if complete:
            self._end(order, "filled")
        elif order.type is OrderType.MARKET:
            self._end(order, "ioc" if order.filled else "depth_not_enough")
        elif order.time_in_force is TimeInForce.IOC:
            self._end(order, "ioc")
        else:
            self._resting[order.id] = order

    def _plan(self, order: MatchOrder) -> tuple[list[tuple[_Level, Decimal]], bool]:
        """With whom the order would trade how much, and whether that is all of it."""
        plan: list[tuple[_Level, Decimal]] = []
        left = order.left
        for level in self._levels(order):
            in_lots = left if order.cost is None else quantity_for(self.market, left, level.price)
            quantity = in_lots if level.available is None else min(in_lots, level.available)
            if quantity > 0:
                plan.append((level, quantity))
                left -= quantity if order.cost is None else quantity * level.price
            if quantity == in_lots:
                return plan, bool(plan)
        return plan, False

    def _levels(self, order: MatchOrder) -> Iterator[_Level]:
        """What the order may trade with, best price first; at the same price resting orders come first."""
        market_price = self.taker_price(order.side)
        for maker in self._by_priority(_other(order.side)):
            price = _limit(maker)
            if market_price is not None and price != market_price and not _crosses(order.side, market_price, price):
                break
            if order.price is not None and not _crosses(order.side, order.price, price):
                return
            yield _Level(price, maker.left, maker)
        if market_price is None or self.liquidity == 0:
            return
        if order.price is None or _crosses(order.side, order.price, market_price):
            yield _Level(market_price, self.liquidity, None)

    def _by_priority(self, side: Side) -> list[MatchOrder]:
        """The resting orders of one side: best price first, then the oldest."""
        orders = [order for order in self._resting.values() if order.side is side]
        return sorted(orders, key=_limit, reverse=side is Side.BUY)

    def _execute(self, order: MatchOrder, price: Decimal, quantity: Decimal, *, maker: bool) -> Fill:
        order.filled += quantity
        order.spent += price * quantity
        if order.quantity is not None and order.filled == order.quantity:
            self._end(order, "filled")
        fee, currency = fee_of(self.market, order.side, price, quantity, maker=maker)
        return Fill(order.id, order.side, price, quantity, fee, currency, maker)

    def _take_liquidity(self, quantity: Decimal) -> None:
        if self.liquidity is not None:
            self.liquidity -= quantity

    def _end(self, order: MatchOrder, reason: str) -> list[Fill]:
        order.done, order.reason = True, reason
        self._resting.pop(order.id, None)
        return []


def _limit(order: MatchOrder) -> Decimal:
    """The price of an order that rests; a market order never rests."""
    if order.price is None:
        raise ValueError(f"order {order.id} has no price and cannot rest")
    return order.price


def _crosses(side: Side, limit: Decimal, price: Decimal) -> bool:
    """True when an order of `side` with this limit accepts `price`."""
    return price <= limit if side is Side.BUY else price >= limit


def _other(side: Side) -> Side:
    return Side.SELL if side is Side.BUY else Side.BUY
