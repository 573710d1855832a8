"""What a deployment did live, bar by bar, as plain values: the end of the chain of counterfactual runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from cashup.trading.book import Book
from cashup.types import MONEY, ZERO, Millis, Side, Symbol, Trade

Place = tuple[Symbol, Side]
"""Where an order of a decision belongs: a bar has at most one per symbol and side."""


@dataclass(frozen=True, slots=True)
class Done:
    """The order that a decision made in one symbol, and what came of it.

    It was asked for in `quantity` (base) or, a market buy, in `cost` (quote). `whole`: the venue carried out all of it.
    """

    quantity: Decimal | None
    cost: Decimal | None
    trades: tuple[Trade, ...]
    whole: bool

    @property
    def filled(self) -> Decimal:
        """What was executed, in base currency."""
        return sum((trade.quantity for trade in self.trades), ZERO)

    @property
    def spent(self) -> Decimal:
        """What was executed, in quote currency, before fees."""
        return sum((trade.quantity * trade.price for trade in self.trades), ZERO)

    @property
    def price(self) -> Decimal | None:
        """The average price, or None when nothing was executed."""
        return MONEY.divide(self.spent, self.filled) if self.trades else None

    @property
    def share(self) -> Decimal:
        """How much of it was executed, from 0 to 1."""
        if self.whole:
            return Decimal(1)
        asked = self.cost if self.cost is not None else self.quantity
        got = self.spent if self.cost is not None else self.filled
        return MONEY.divide(got, asked) if asked else ZERO

    def asks(self, quantity: Decimal | None, cost: Decimal | None) -> bool:
        """True when another order asks for exactly the same."""
        return (self.quantity, self.cost) == (quantity, cost)


@dataclass(frozen=True, slots=True)
class Decided:
    """One decided bar (`bar` is its open time) as it is on record.

    `marks` are the prices it was sized at, `equity` the worth of the book at these, before the bar's orders; both are
    missing when it was never sized. `denied` are the symbols that risk stopped, with the code of why; `allowed` those
    that it cut, with the most (quote) that was left; `held_back` those whose order was planned and then not sent, for a
    halt. `dust` was below the venue's minimum. `expired`: its time ran out before all of it was carried out.
    """

    bar: Millis
    at: Millis
    targets: Mapping[Symbol, Decimal | None]
    rebalance: Decimal | None = None
    marks: Mapping[Symbol, Decimal] = field(default_factory=dict)
    equity: Decimal | None = None
    denied: Mapping[Symbol, str] = field(default_factory=dict)
    allowed: Mapping[Symbol, Decimal] = field(default_factory=dict)
    held_back: frozenset[Symbol] = frozenset()
    dust: frozenset[Symbol] = frozenset()
    done: Mapping[Place, Done] = field(default_factory=dict)
    expired: bool = False

    @property
    def sized(self) -> bool:
        """True when the decision was acted upon."""
        return self.equity is not None


@dataclass(frozen=True, slots=True)
class ByHand:
    """An execution that no decision of the strategy made. `held` is what live held of the symbol before it.

    `flattens`: it was a kill or a flatten, which also makes the symbol's target zero.
    """

    trade: Trade
    held: Decimal
    flattens: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """A stretch of a deployment's life, from the decision of its first bar to that of its last.

    `start` is the book right before the first decision. `by_hand` and `paid_in` (quote; negative: taken out) are what
    happened before the decision of the bar that they are listed under, and after the one before it.
    """

    decided: tuple[Decided, ...]
    start: Book
    by_hand: Mapping[Millis, tuple[ByHand, ...]] = field(default_factory=dict)
    paid_in: Mapping[Millis, Decimal] = field(default_factory=dict)

    @property
    def first(self) -> Decided:
        """The decision at which the stretch begins."""
        return self.decided[0]

    @property
    def last(self) -> Decided:
        """The decision at which both results are measured, before its orders."""
        return self.decided[-1]

    @property
    def result(self) -> Decimal:
        """The worth of the live book at the end, as it is on record."""
        return self.last.equity if self.last.equity is not None else ZERO
