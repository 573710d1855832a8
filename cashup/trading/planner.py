"""The planner: from targets to orders, in Decimal, without I/O. Replay and live trading plan with this file.

Once per bar: `decide` finds the targets that changed and sizes them on the equity of that moment (`Sizing`, frozen for
the bar). `plan_sells` drafts what must be sold; when those orders have ended and are booked, `plan_buys` drafts the
buys from the cash that is then really there, the smallest purchase first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from cashup.trading.book import Book
from cashup.trading.risk import (
    NO_LIMITS,
    Action,
    Decision,
    Draft,
    Limits,
    Situation,
    check_order,
    check_targets,
    reserved,
)
from cashup.types import MONEY, ZERO, Market, Side, Symbol


@dataclass(frozen=True, slots=True)
class Aim:
    """What shall happen to one symbol: its new target and the change in value that leads there (quote currency)."""

    symbol: Symbol
    target: Decimal
    mark: Decimal
    desired: Decimal


@dataclass(frozen=True, slots=True)
class Sizing:
    """A bar's decision in money: the equity and the marks it was sized with, and one aim per symbol that changes."""

    equity: Decimal
    aims: tuple[Aim, ...]

    def to_json(self) -> dict[str, Any]:
        """Money as text; the order of the aims is kept."""
        aims = [[a.symbol, str(a.target), str(a.mark), str(a.desired)] for a in self.aims]
        return {"equity": str(self.equity), "aims": aims}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Sizing:
        """The inverse of `to_json`."""
        aims = (Aim(Symbol(s), Decimal(t), Decimal(m), Decimal(d)) for s, t, m, d in data["aims"])
        return cls(Decimal(data["equity"]), tuple(aims))


@dataclass(frozen=True, slots=True)
class Plan:
    """Orders to send, in this order, and the risk decisions that made them what they are."""

    drafts: tuple[Draft, ...]
    decisions: tuple[Decision, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a bar decided. `targets` are the book's last targets from now on, for the symbols that changed."""

    sizing: Sizing
    targets: Mapping[Symbol, Decimal]
    decisions: tuple[Decision, ...]


def decide(
    book: Book,
    targets: Mapping[Symbol, Decimal | None],
    marks: Mapping[Symbol, Decimal],
    *,
    rebalance: Decimal | None = None,
) -> Verdict:
    """Size the targets of one bar. None keeps a symbol's previous target (0 when it never had one).

    A symbol is acted on when its target differs from the previous one, or when its exposure is further than
    `rebalance` (a fraction of equity) from it. `marks` must hold a price for every symbol that is held or wanted;
    where one is missing nothing is traded.
    """
    unpriced = [symbol for symbol, p in book.positions.items() if p.quantity and not marks.get(symbol)]
    if unpriced:
        reason = "a held symbol has no price, so the equity is not known"
        return Verdict(Sizing(ZERO, ()), {}, _deny_all(unpriced, "price_missing", reason))
    equity = book.equity(marks)
    goals = {s: book.targets.get(s, ZERO) if t is None else t for s, t in targets.items()}
    wanted = {s: t for s, t in goals.items() if _acts(book, s, t, marks, equity, rebalance)}
    allowed, decisions = check_targets(goals, wanted, marks)
    if allowed and equity <= 0:
        return Verdict(Sizing(equity, ()), {}, _deny_all(allowed, "no_equity", "there is no equity to trade with"))
    aims = tuple(_aim(book, symbol, target, marks[symbol], equity) for symbol, target in allowed.items())
    return Verdict(Sizing(equity, aims), allowed, tuple(decisions))


def plan_sells(sizing: Sizing, book: Book, markets: Mapping[Symbol, Market], *, limits: Limits = NO_LIMITS) -> Plan:
    """Market sells for every aim below what is held, the largest first."""
    drafts = []
    for aim in sorted(sizing.aims, key=lambda aim: aim.desired):
        held = book.quantity(aim.symbol)
        if aim.desired >= 0 or held <= 0:
            continue
        quantity = held if aim.target == 0 else min(held, MONEY.divide(-aim.desired, aim.mark))
        drafts.append(Draft(aim.symbol, Side.SELL, aim.mark, aim.target, aim.desired, quantity=+quantity))
    return _checked(drafts, book.cash, markets, limits, frozenset())


def plan_buys(
    sizing: Sizing,
    book: Book,
    markets: Mapping[Symbol, Market],
    *,
    limits: Limits = NO_LIMITS,
    frozen: frozenset[Symbol] = frozenset(),
    slippage: Decimal = ZERO,
) -> Plan:
    """Market buys in quote currency from `book.cash`, the smallest purchase first, ties in the order of the symbols.

    `frozen` holds the symbols with an UNKNOWN order. `slippage` raises the budget of each buy, so that an ideal venue
    that fills at mark * (1 + slippage) delivers the quantity that the mark stood for; a real venue gets none.
    """
    drafts = [
        Draft(aim.symbol, Side.BUY, aim.mark, aim.target, aim.desired, cost=aim.desired * (1 + slippage))
        for aim in sorted(sizing.aims, key=lambda aim: aim.desired)
        if aim.desired > 0
    ]
    return _checked(drafts, book.cash, markets, limits, frozen)


def _acts(
    book: Book,
    symbol: Symbol,
    target: Decimal,
    marks: Mapping[Symbol, Decimal],
    equity: Decimal,
    rebalance: Decimal | None,
) -> bool:
    """True when the target changed or the exposure drifted too far from it."""
    if target != book.targets.get(symbol, ZERO):
        return True
    if rebalance is None or equity <= 0 or not marks.get(symbol):
        return False
    exposure = MONEY.divide(book.quantity(symbol) * marks[symbol], equity)
    return abs(exposure - target) > rebalance


def _aim(book: Book, symbol: Symbol, target: Decimal, mark: Decimal, equity: Decimal) -> Aim:
    return Aim(symbol, target, mark, target * equity - book.quantity(symbol) * mark)


def _checked(
    drafts: Sequence[Draft],
    cash: Decimal,
    markets: Mapping[Symbol, Market],
    limits: Limits,
    frozen: frozenset[Symbol],
) -> Plan:
    """The drafts that pass risk; each buy leaves less cash to the next."""
    passed: list[Draft] = []
    decisions: list[Decision] = []
    for draft in drafts:
        market = markets.get(draft.symbol)
        if market is None:
            decisions.extend(_deny_all([draft.symbol], "unknown_market", f"the venue does not trade {draft.symbol}"))
            continue
        allowed, said = check_order(draft, Situation(market, cash, limits, frozen))
        decisions.extend(said)
        if allowed is not None:
            passed.append(allowed)
            cash -= reserved(market, allowed)
    return Plan(tuple(passed), tuple(decisions))


def _deny_all(symbols: Sequence[Symbol] | Mapping[Symbol, Any], code: str, reason: str) -> tuple[Decision, ...]:
    return tuple(Decision(symbol, Action.DENY, code, reason) for symbol in symbols)
