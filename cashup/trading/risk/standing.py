"""What surrounds an order: the limits that hold for it, how far they are used, and what else is going on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum

from cashup.strategies.limits import Limits
from cashup.trading.risk.draft import Draft
from cashup.types import ZERO, Millis, Side, Symbol


class TradingState(StrEnum):
    """What may be sent: everything, only what leads toward zero, or nothing. Cancels always may."""

    ACTIVE = "active"
    REDUCING = "reducing"
    HALTED = "halted"

    @classmethod
    def worst(cls, states: Iterable[TradingState]) -> TradingState:
        """The one that holds back most; ACTIVE when there is none."""
        order = list(cls)
        return max(states, key=order.index, default=cls.ACTIVE)


@dataclass(frozen=True, slots=True)
class Exposure:
    """What is held and on its way, in quote currency. Orders whose fate is unknown count as fully open.

    `values` are signed, at marks; `buys` and `sells` what open orders may still add on either side.
    """

    equity: Decimal
    values: Mapping[Symbol, Decimal] = field(default_factory=dict)
    buys: Mapping[Symbol, Decimal] = field(default_factory=dict)
    sells: Mapping[Symbol, Decimal] = field(default_factory=dict)

    def long(self, symbol: Symbol) -> Decimal:
        """What `symbol` may be worth when all buys of it are filled and no sell is."""
        return self.values.get(symbol, ZERO) + self.buys.get(symbol, ZERO)

    def short(self, symbol: Symbol) -> Decimal:
        """What may be owed of `symbol` when all sells of it are filled and no buy is."""
        return self.sells.get(symbol, ZERO) - self.values.get(symbol, ZERO)

    def reach(self, symbol: Symbol, side: Side) -> Decimal:
        """What `symbol` may come to on this side."""
        return self.long(symbol) if side is Side.BUY else self.short(symbol)

    def gross(self, without: Symbol | None = None) -> Decimal:
        """Longs and shorts together at their worst, less those of one symbol."""
        others = (s for s in self._symbols() if s != without)
        return sum((max(self.long(s), self.short(s), ZERO) for s in others), ZERO)

    def net(self, side: Side) -> Decimal:
        """Longs less shorts (for a buy), or shorts less longs, at their worst."""
        return sum((self.reach(symbol, side) for symbol in self._symbols()), ZERO)

    def after(self, draft: Draft) -> Exposure:
        """The exposure with `draft` on its way."""
        side = self.buys if draft.side is Side.BUY else self.sells
        if draft.reduces:
            return self
        more = {**side, draft.symbol: side.get(draft.symbol, ZERO) + draft.value}
        return replace(self, buys=more) if draft.side is Side.BUY else replace(self, sells=more)

    def _symbols(self) -> list[Symbol]:
        return list({**self.values, **self.buys, **self.sells})


@dataclass(frozen=True, slots=True)
class Allowance:
    """Limits and how far they are used. `name` is for people: `deployment demo`, `account main`.

    `recent` counts the orders of the last minute, `open` those that have not ended.
    """

    name: str
    limits: Limits
    exposure: Exposure | None = None
    recent: int = 0
    open: int = 0
    stale_after: Millis | None = None

    def after(self, draft: Draft) -> Allowance:
        """The allowance with `draft` on its way."""
        exposure = None if self.exposure is None else self.exposure.after(draft)
        return replace(self, exposure=exposure, recent=self.recent + 1, open=self.open + 1)


@dataclass(frozen=True, slots=True)
class Resting:
    """An order of the same account that rests on the venue; `price` is None when it has none."""

    side: Side
    price: Decimal | None


@dataclass(frozen=True, slots=True)
class Quoted:
    """What is known of a symbol's price beside the mark: its age in milliseconds, and the close of the last bar."""

    age: Millis | None = None
    close: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Lock:
    """A protection pauses entries until `until` (ms): in `symbol`, or in all where that is None."""

    code: str
    reason: str
    until: Millis
    symbol: Symbol | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Everything around an order that is not its own market and money. The default is a quiet day without limits."""

    allowances: tuple[Allowance, ...] = ()
    state: TradingState = TradingState.ACTIVE
    why: str = ""
    resting: Mapping[Symbol, tuple[Resting, ...]] = field(default_factory=dict)
    quoted: Mapping[Symbol, Quoted] = field(default_factory=dict)
    locks: tuple[Lock, ...] = ()

    def after(self, draft: Draft) -> Standing:
        """What surrounds the next order when `draft` is on its way."""
        if not self.allowances:
            return self
        return replace(self, allowances=tuple(allowance.after(draft) for allowance in self.allowances))


CALM = Standing()
