"""What an account may hold on credit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from cashup.trading.risk.draft import Draft
from cashup.types import MONEY, Market, Side


@dataclass(frozen=True, slots=True)
class Margin:
    """An account that may hold `leverage` times its equity, longs and shorts together (`gross`, positive), at marks.

    `slippage` is what a market order is expected to pay on top, as a ratio.
    """

    equity: Decimal
    gross: Decimal
    leverage: Decimal
    slippage: Decimal = Decimal(0)

    def room(self, market: Market, side: Side) -> Decimal:
        """The largest value v, at the mark, that may be added: gross + v <= leverage x (equity - v x what it costs)."""
        left = self.leverage * self.equity - self.gross
        return MONEY.divide(max(left, Decimal(0)), 1 + self.leverage * self._cost(market, side))

    def after(self, market: Market, draft: Draft) -> Margin:
        """What is left when `draft` is filled."""
        if not draft.adds:
            return self
        paid = draft.value * self._cost(market, draft.side)
        return replace(self, equity=self.equity - paid, gross=self.gross + draft.value)

    def _cost(self, market: Market, side: Side) -> Decimal:
        worse = 1 + self.slippage if side is Side.BUY else 1 - self.slippage
        return self.slippage + worse * market.taker_fee
