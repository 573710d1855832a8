"""Parity: two runs of one strategy, order by order. Backtest against replay, replay against live."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from cashup.clock import isoformat
from cashup.trading.replay import Replayed
from cashup.types import MONEY, ZERO, Millis, Side, Symbol

SHOWN = 10
"""How many differences a report lists."""


@dataclass(frozen=True, slots=True)
class Line:
    """One executed order: the bar (open time, ms) that decided it, what it filled (base) at which price (quote)."""

    bar: Millis
    symbol: Symbol
    side: Side
    quantity: Decimal
    price: Decimal


@dataclass(frozen=True, slots=True)
class Record:
    """One run for comparison: its name, its executed orders and its final equity in quote currency."""

    name: str
    lines: Sequence[Line]
    final_equity: Decimal

    @classmethod
    def of(cls, name: str, replayed: Replayed) -> Record:
        """A replay as a record; orders that filled nothing are left out."""
        lines = [
            Line(placed.bar, placed.order.symbol, placed.order.side, placed.order.filled, placed.order.average_price)
            for placed in replayed.orders
            if placed.order.average_price is not None
        ]
        return cls(name, lines, replayed.final_equity)


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the runs part: `what` is missing, extra, quantity or price; `left` and `right` are the two orders."""

    what: str
    left: Line | None
    right: Line | None

    def __str__(self) -> str:
        line = self.left or self.right
        if line is None:
            return self.what
        where = f"{isoformat(line.bar)} {line.side} {line.symbol}"
        if self.left is None or self.right is None:
            return f"{where}: {self.what}, {line.quantity:f} at {line.price:f}"
        return (
            f"{where}: {self.what}, {self.left.quantity:f} at {self.left.price:f} "
            f"against {self.right.quantity:f} at {self.right.price:f}"
        )


@dataclass(frozen=True, slots=True)
class Parity:
    """How two runs compare. `equity_difference` is right / left - 1, a fraction."""

    left: Record
    right: Record
    matched: int
    differences: tuple[Difference, ...]
    equity_difference: Decimal
    tolerance: Decimal

    @property
    def equal(self) -> bool:
        """Same orders at the same bars, and the same final equity, both within the tolerance."""
        return not self.differences and abs(self.equity_difference) <= self.tolerance

    def to_json(self) -> dict[str, Any]:
        """`equal matched differences equity_difference left right`; money as text, ratios as numbers."""
        return {
            "equal": self.equal,
            "matched": self.matched,
            "differences": len(self.differences),
            "first_differences": [str(difference) for difference in self.differences[:SHOWN]],
            "equity_difference": float(self.equity_difference),
            "tolerance": float(self.tolerance),
            "left": _side(self.left),
            "right": _side(self.right),
        }

    def report(self) -> str:
        """The comparison for people."""
        left, right = self.left, self.right
        lines = [
            f"{left.name}: {len(left.lines)} orders, final equity {left.final_equity:.2f}",
            f"{right.name}: {len(right.lines)} orders, final equity {right.final_equity:.2f}",
            f"{self.matched} orders agree, {len(self.differences)} differ; "
            f"final equity differs by {self.equity_difference:.3e} of {left.name}",
            *(f"  {difference}" for difference in self.differences[:SHOWN]),
        ]
        if len(self.differences) > SHOWN:
            lines.append(f"  and {len(self.differences) - SHOWN} more")
        return "\n".join(lines)


def compare(left: Record, right: Record, *, tolerance: Decimal = ZERO) -> Parity:
    """Compare two runs; quantities, prices and the final equity may differ by the fraction `tolerance`."""
    ours, theirs = _by_place(left), _by_place(right)
    differences: list[Difference] = []
    matched = 0
    for place in sorted(ours.keys() | theirs.keys()):
        difference = _difference(ours.get(place), theirs.get(place), tolerance)
        if difference is None:
            matched += 1
        else:
            differences.append(difference)
    return Parity(left, right, matched, tuple(differences), _relative(left, right), tolerance)


def _difference(left: Line | None, right: Line | None, tolerance: Decimal) -> Difference | None:
    """How two orders at the same place differ, or None."""
    if left is None or right is None:
        return Difference("extra" if left is None else "missing", left, right)
    if abs(left.quantity - right.quantity) > tolerance * left.quantity:
        return Difference("quantity", left, right)
    if abs(left.price - right.price) > tolerance * left.price:
        return Difference("price", left, right)
    return None


def _by_place(record: Record) -> dict[tuple[Millis, str, str, int], Line]:
    """The orders by bar, symbol and side; several at one place are numbered in their order."""
    places: dict[tuple[Millis, str, str, int], Line] = {}
    for line in record.lines:
        number = 0
        while (place := (line.bar, line.symbol, line.side.value, number)) in places:
            number += 1
        places[place] = line
    return places


def _relative(left: Record, right: Record) -> Decimal:
    if left.final_equity == 0:
        return ZERO if right.final_equity == 0 else Decimal("Infinity")
    return MONEY.divide(right.final_equity - left.final_equity, left.final_equity)


def _side(record: Record) -> dict[str, Any]:
    return {"name": record.name, "orders": len(record.lines), "final_equity": str(record.final_equity)}
