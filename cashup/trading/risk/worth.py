"""What a deployment, an account or a user is worth over time, and what of it may be lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

from cashup.strategies.limits import Limits
from cashup.trading.risk.decision import percent, plain
from cashup.types import MONEY, ZERO, Millis

DAY: Millis = 86_400_000

DAILY_LOSS, MAX_DRAWDOWN = "daily_loss", "max_drawdown"


@dataclass(frozen=True, slots=True)
class Breach:
    """A loss beyond a limit: the code of the halt that it leads to, and what happened."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Worth:
    """Equity and what it is measured against, in quote currency.

    `day` is 00:00 UTC (ms) of the day whose first worth is `opened`: the last one that was seen before midnight. `peak`
    is the highest. `capital` is what was paid in: when that changes, the others move with it, so that money that is
    paid in is no profit and money that is taken out no loss.
    """

    day: Millis
    opened: Decimal
    peak: Decimal
    value: Decimal
    capital: Decimal

    @classmethod
    def begin(cls, value: Decimal, capital: Decimal, now: Millis) -> Worth:
        """The first time that anybody looks, or a new beginning."""
        return cls(now - now % DAY, value, value, value, capital)

    def after(self, value: Decimal, capital: Decimal, now: Millis) -> Worth:
        """The worth at `now`."""
        moved = capital - self.capital
        today = now - now % DAY
        opened = self.value if today > self.day else self.opened
        return Worth(max(today, self.day), opened + moved, max(self.peak + moved, value), value, capital)

    def rebased(self, code: str) -> Worth:
        """The worth with a new beginning for the limit `code`: what was lost so far does not count any more."""
        return replace(self, opened=self.value) if code == DAILY_LOSS else replace(self, peak=self.value)

    @property
    def daily_loss(self) -> Decimal:
        """What was lost since 00:00 UTC, as a ratio of the worth then; 0 when nothing was."""
        return _lost(self.opened, self.value)

    @property
    def drawdown(self) -> Decimal:
        """What was lost since the peak, as a ratio of it; 0 at the peak."""
        return _lost(self.peak, self.value)

    def breaches(self, limits: Limits) -> Iterator[Breach]:
        """The limits on losses that are reached."""
        if limits.max_daily_loss is not None and self.daily_loss >= limits.max_daily_loss:
            what = f"{percent(self.daily_loss)} were lost since 00:00 UTC (from {plain(self.opened)} to"
            reason = f"{what} {plain(self.value)}), {percent(limits.max_daily_loss)} are allowed"
            yield Breach(DAILY_LOSS, reason)
        if limits.max_drawdown is not None and self.drawdown >= limits.max_drawdown:
            what = f"{percent(self.drawdown)} were lost since the peak (from {plain(self.peak)} to"
            reason = f"{what} {plain(self.value)}), {percent(limits.max_drawdown)} are allowed"
            yield Breach(MAX_DRAWDOWN, reason)


def _lost(before: Decimal, now: Decimal) -> Decimal:
    return max(MONEY.divide(before - now, before), ZERO) if before > 0 else ZERO
