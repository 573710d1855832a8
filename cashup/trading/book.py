"""The book of a deployment: its cash, its positions, its last targets. Pure values; `apply_trade` is the only mover.

Several deployments may share an account; each has its own book, and the books sum to the account.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from cashup.strategies.symbols import is_contract
from cashup.types import MONEY, ZERO, Side, Symbol, Trade


@dataclass(frozen=True, slots=True)
class Position:
    """What is held of one symbol.

    `quantity` is base currency (a contract's is below zero when short), `cost` what the held quantity was bought for
    (quote, fees included; below zero: what a short was sold for), `realised` the profit of what was closed again
    (quote, after fees).
    """

    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    realised: Decimal = ZERO

    @property
    def average_cost(self) -> Decimal | None:
        """Quote per base that the held quantity cost, or None when nothing is held."""
        return MONEY.divide(self.cost, self.quantity) if self.quantity else None


@dataclass(frozen=True, slots=True)
class Book:
    """Cash in quote currency, positions, the last target per symbol (absent: never targeted, 0) and fees paid."""

    cash: Decimal
    positions: Mapping[Symbol, Position] = field(default_factory=dict)
    targets: Mapping[Symbol, Decimal] = field(default_factory=dict)
    fees: Mapping[str, Decimal] = field(default_factory=dict)

    def quantity(self, symbol: Symbol) -> Decimal:
        """Base currency held of `symbol`."""
        position = self.positions.get(symbol)
        return position.quantity if position is not None else ZERO

    def equity(self, marks: Mapping[Symbol, Decimal]) -> Decimal:
        """cash + sum(position * mark), in quote currency. Raises KeyError when a held symbol has no mark."""
        held = (p.quantity * marks[symbol] for symbol, p in self.positions.items() if p.quantity)
        return sum(held, self.cash)

    def with_targets(self, targets: Mapping[Symbol, Decimal]) -> Book:
        """The book with these as its last targets; symbols that are not named keep theirs."""
        return replace(self, targets={**self.targets, **targets})


def apply_trade(book: Book, trade: Trade) -> Book:
    """`book` after one execution. The caller sees to it that a trade is applied once.

    A fee in the base currency lessens what a buy brings; one in quote lessens the cash; any other is only counted.
    """
    base, quote = trade.symbol.split(":")[0].split("/")
    value = trade.price * trade.quantity
    base_fee = trade.fee if trade.fee_currency == base else ZERO
    quote_fee = trade.fee if trade.fee_currency == quote else ZERO
    position = book.positions.get(trade.symbol, Position())
    if is_contract(trade.symbol):
        quantity, paid = (trade.quantity, value) if trade.side is Side.BUY else (-trade.quantity, -value)
        cash = book.cash - paid - quote_fee
        position = _turned(position, quantity, paid + quote_fee)
    elif trade.side is Side.BUY:
        cash = book.cash - value - quote_fee
        position = replace(
            position,
            quantity=position.quantity + trade.quantity - base_fee,
            cost=position.cost + value + quote_fee,
        )
    else:
        cash = book.cash + value - quote_fee
        position = _sold(position, trade.quantity + base_fee, value - quote_fee)
    fees = {**book.fees, trade.fee_currency: book.fees.get(trade.fee_currency, ZERO) + trade.fee}
    return replace(book, cash=cash, positions={**book.positions, trade.symbol: position}, fees=fees)


def _turned(position: Position, quantity: Decimal, paid: Decimal) -> Position:
    """`position` in a contract after `quantity` more (below zero: sold) for `paid` (below zero: received)."""
    if position.quantity * quantity >= 0:
        return replace(position, quantity=position.quantity + quantity, cost=position.cost + paid)
    closing = min(abs(quantity), abs(position.quantity))
    released = _share(position.cost, closing, abs(position.quantity))
    given = _share(paid, closing, abs(quantity))
    after = position.quantity + quantity
    flipped = after * quantity > 0
    return Position(
        quantity=after,
        cost=paid - given if flipped else (position.cost - released if after else ZERO),
        realised=position.realised - given - released,
    )


def _sold(position: Position, quantity: Decimal, proceeds: Decimal) -> Position:
    """`position` after selling `quantity` of it for `proceeds`; what it had cost leaves in proportion."""
    if quantity == position.quantity or position.quantity == 0:
        released = position.cost
    else:
        released = _share(position.cost, quantity, position.quantity)
    return Position(
        quantity=position.quantity - quantity,
        cost=position.cost - released,
        realised=position.realised + proceeds - released,
    )


_GRAIN = Decimal("1E-16")
"""What a part of a cost is rounded to: so coarse that sums of costs stay exact, so realised and unrealised profit are
the change of equity to the last digit."""


def _share(amount: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    """`amount` x `part` / `whole`."""
    return MONEY.divide(MONEY.multiply(amount, part), whole).quantize(_GRAIN, context=MONEY)
