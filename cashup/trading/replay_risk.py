"""What surrounds the orders of a replay: the same limits as live, on the replay's clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from cashup.trading.book import Book
from cashup.trading.risk import Allowance, Exposure, Quoted, Standing
from cashup.trading.rules import MINUTE, Rules
from cashup.types import Millis, Symbol


@dataclass(slots=True)
class ReplayRisk:
    """The one deployment of a replay. `closes` are the closes of the bar that decides.

    Its prices are never old, and none of its orders is open when the next one is made.
    """

    rules: Rules
    closes: dict[Symbol, Decimal] = field(default_factory=dict)
    _made: deque[Millis] = field(default_factory=deque)

    def made(self, now: Millis) -> None:
        """An order was made."""
        self._made.append(now)

    def standing(self, book: Book, marks: Mapping[Symbol, Decimal], now: Millis) -> Standing:
        """What surrounds an order at these marks."""
        while self._made and self._made[0] <= now - MINUTE:
            self._made.popleft()
        values = {s: p.quantity * marks[s] for s, p in book.positions.items() if p.quantity}
        allowance = Allowance(
            name="the replay",
            limits=self.rules.limits,
            exposure=Exposure(sum(values.values(), book.cash), values),
            recent=len(self._made),
        )
        quoted = {symbol: Quoted(age=0, close=close) for symbol, close in self.closes.items()}
        return Standing(allowances=(allowance,), quoted=quoted)
