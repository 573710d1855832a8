"""Stops: where a position is left inside a bar. Pure functions on prices, in Decimal.

A stop stands at a distance from the average entry, a trailing stop at one from the best price since; a take profit
rests at the venue. What is held after the orders of a bar's open is looked at once per bar; when both a stop and the
profit are reached in it, the stop counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from cashup.types import MONEY, Side, Trade


@dataclass(frozen=True, slots=True)
class Guard:
    """A position as its stops see it: base currency (below zero: short), average entry, best price since the entry."""

    quantity: Decimal
    entry: Decimal
    best: Decimal

    @property
    def side(self) -> int:
        """1 for a long, -1 for a short."""
        return 1 if self.quantity > 0 else -1

    def after(self, high: Decimal, low: Decimal) -> Guard:
        """The same position after a bar with this range."""
        best = max(self.best, high) if self.quantity > 0 else min(self.best, low)
        return Guard(self.quantity, self.entry, best)


@dataclass(frozen=True, slots=True)
class Exit:
    """Leave the position at `price` (before slippage). `rests`: the order waited at the venue, so it is the maker."""

    reason: str
    price: Decimal
    rests: bool


def guard_after(guard: Guard | None, trade: Trade) -> Guard | None:
    """The guard of a position after one more execution; None when nothing is held."""
    quantity = trade.quantity if trade.side is Side.BUY else -trade.quantity
    if guard is None or guard.quantity * (guard.quantity + quantity) < 0:
        left = quantity if guard is None else guard.quantity + quantity
        return Guard(left, trade.price, trade.price)
    after = guard.quantity + quantity
    if after == 0:
        return None
    if guard.quantity * quantity < 0:
        return Guard(after, guard.entry, guard.best)
    return Guard(after, MONEY.divide(guard.entry * guard.quantity + trade.price * quantity, after), guard.best)


def exit_of(
    guard: Guard, opened: Decimal, high: Decimal, low: Decimal, distances: Mapping[str, Decimal]
) -> Exit | None:
    """What a bar does to a position; `distances` are those of the strategy's stops that it has, by name."""
    side = guard.side
    worst, best = (low, high) if side > 0 else (-high, -low)
    first, entry = side * opened, side * guard.entry
    peak = max(side * guard.best, first)
    stops = {}
    if "stop_loss" in distances:
        stops["stop_loss"] = entry - guard.entry * distances["stop_loss"]
    if "trailing_stop" in distances:
        stops["trailing_stop"] = peak - abs(peak) * distances["trailing_stop"]
    if stops:
        name = max(stops, key=lambda name: stops[name])  # the tighter one
        if worst <= stops[name]:
            return Exit(name, side * min(first, stops[name]), rests=False)
    if "take_profit" in distances:
        profit = entry + guard.entry * distances["take_profit"]
        if best >= profit:
            return Exit("take_profit", side * max(first, profit), rests=True)
    return None
