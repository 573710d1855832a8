"""Prices as the engine sees them: the newest of a symbol on an account's venue, or none yet."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from cashup.errors import ExchangeTransient
from cashup.trading.risk import Quoted
from cashup.types import Millis, Symbol


class Marks(Protocol):
    """Where prices come from."""

    def mark(self, venue: str, symbol: Symbol) -> Decimal:
        """The newest price of `symbol` on `venue`. Raises ExchangeTransient when there is none yet."""
        ...

    def quoted(self, venue: str, symbol: Symbol) -> tuple[Millis | None, Decimal | None]:
        """How old that price is, and the close of the last closed bar; None for what is not known."""
        ...


@dataclass(frozen=True, slots=True)
class Prices:
    """The prices of one venue."""

    marks: Marks
    venue: str

    def of(self, symbol: Symbol) -> Decimal | None:
        """The newest price, or None when there is none yet."""
        try:
            return self.marks.mark(self.venue, symbol)
        except ExchangeTransient:
            return None

    def quoted(self, symbol: Symbol) -> Quoted:
        """How old the newest price is, and where the market was when the last bar closed."""
        return Quoted(*self.marks.quoted(self.venue, symbol))
