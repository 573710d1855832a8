"""What surrounds the orders of a replay: the same limits, protections and latches as live, on the replay's clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from cashup.trading.book import Book
from cashup.trading.risk import Allowance, Exposure, Quoted, Standing, TradingState
from cashup.trading.risk.protections import locks, memory
from cashup.trading.risk.round_trip import ClosedTrade, RoundTrip, trip_after
from cashup.trading.risk.worth import Breach, Worth
from cashup.trading.rules import MINUTE, Rules
from cashup.types import Market, Millis, Symbol, Trade


@dataclass(slots=True)
class ReplayRisk:
    """The one deployment of a replay. `closes` are the closes of the bar that decides.

    Its prices are never old, and none of its orders is open when the next one is made. What a loss has latched stays:
    there is nobody to clear it.
    """

    rules: Rules
    closes: dict[Symbol, Decimal] = field(default_factory=dict)
    breaches: list[tuple[Millis, Breach]] = field(default_factory=list)
    _worth: Worth | None = None
    _made: deque[Millis] = field(default_factory=deque)
    _trips: dict[Symbol, RoundTrip] = field(default_factory=dict)
    _closed: deque[ClosedTrade] = field(default_factory=deque)

    def made(self, now: Millis) -> None:
        """An order was made."""
        self._made.append(now)

    def booked(self, trade: Trade, market: Market, reason: str) -> None:
        """An execution was booked; `reason` is why its order was made."""
        trip, closed = trip_after(self._trips.pop(trade.symbol, None), trade, market, reason)
        if trip is not None:
            self._trips[trade.symbol] = trip
        if closed is not None and self.rules.protections:
            self._closed.append(closed)

    def look(self, book: Book, capital: Decimal, marks: Mapping[Symbol, Decimal], now: Millis) -> None:
        """Measure what was lost."""
        if not self.rules.limits.watches_losses or any(s not in marks for s, p in book.positions.items() if p.quantity):
            return
        value = book.equity(marks)
        before = self._worth
        self._worth = Worth.begin(value, capital, now) if before is None else before.after(value, capital, now)
        known = {breach.code for _, breach in self.breaches}
        self.breaches += [(now, one) for one in self._worth.breaches(self.rules.limits) if one.code not in known]

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
        return Standing(
            allowances=(allowance,),
            state=TradingState(self.rules.limits.on_breach) if self.breaches else TradingState.ACTIVE,
            why="; ".join(breach.reason for _, breach in self.breaches),
            quoted={symbol: Quoted(age=0, close=close) for symbol, close in self.closes.items()},
            locks=locks(self.rules.protections, self.rules.timeframe, self._remembered(now), now),
        )

    def _remembered(self, now: Millis) -> deque[ClosedTrade]:
        """The trades that protections may still look at."""
        since = now - memory(self.rules.protections, self.rules.timeframe)
        while self._closed and self._closed[0].closed_at <= since:
            self._closed.popleft()
        return self._closed
