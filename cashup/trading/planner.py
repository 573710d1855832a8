"""The planner: from targets to orders, in Decimal, without I/O. Replay and live trading plan with this file.

Once per bar: `decide` finds the targets that changed and sizes them on the equity of that moment (`Sizing`, frozen for
the bar). `plan_reductions` drafts what leads toward zero; when those orders have ended and are booked,
`plan_increases` drafts what adds to positions, as far as cash or margin then really go, the smallest first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from cashup.trading.book import Book
from cashup.trading.risk import (
    CALM,
    PASSING,
    Action,
    Decision,
    Draft,
    Margin,
    Situation,
    Standing,
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

    def as_held(self, book: Book, symbols: Collection[Symbol]) -> dict[Symbol, Decimal]:
        """What is really held of those of the aims that are named, as targets."""
        return {
            aim.symbol: MONEY.divide(book.quantity(aim.symbol) * aim.mark, self.equity)
            for aim in self.aims
            if aim.symbol in symbols
        }

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

    def held_back(self, sizing: Sizing, book: Book) -> dict[Symbol, Decimal]:
        """The targets that could not be followed for a cause that passes, as what is really held of them.

        They are the book's last targets instead, so that the next bar that wants the same tries again.
        """
        denied = {one.symbol for one in self.decisions if one.action is Action.DENY and one.code in PASSING}
        return sizing.as_held(book, denied)


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
    leverage: Decimal | None = None,
    stopped: frozenset[Symbol] = frozenset(),
) -> Verdict:
    """Size the targets of one bar. None keeps a symbol's previous target (0 when it never had one).

    A symbol is acted on when its target differs from the previous one, or when its exposure is further than
    `rebalance` (a fraction of equity) from it; one that a stop has closed (`stopped`) only when its target differs.
    `leverage` is None on a spot account, which cannot be short. `marks` must hold a price for every symbol that is
    held or wanted; where one is missing nothing is traded.
    """
    unpriced = [symbol for symbol, p in book.positions.items() if p.quantity and not marks.get(symbol)]
    if unpriced:
        reason = "a held symbol has no price, so the equity is not known"
        return Verdict(Sizing(ZERO, ()), {}, _deny_all(unpriced, "price_missing", reason))
    equity = book.equity(marks)
    goals = {s: book.targets.get(s, ZERO) if t is None else t for s, t in targets.items()}
    drift = {symbol: None if symbol in stopped else rebalance for symbol in goals}
    wanted = {s: t for s, t in goals.items() if _acts(book, s, t, marks, equity, drift[s])}
    allowed, decisions = check_targets(goals, wanted, marks, leverage=leverage)
    if allowed and equity <= 0:
        return Verdict(Sizing(equity, ()), {}, _deny_all(allowed, "no_equity", "there is no equity to trade with"))
    aims = tuple(_aim(book, symbol, target, marks[symbol], equity) for symbol, target in allowed.items())
    return Verdict(Sizing(equity, aims), allowed, tuple(decisions))


def plan_reductions(
    sizing: Sizing,
    book: Book,
    markets: Mapping[Symbol, Market],
    *,
    standing: Standing = CALM,
    held: Mapping[Symbol, Decimal] | None = None,
) -> Plan:
    """Market orders toward zero, the largest change in value first; a flip goes through zero and is first one of these.

    On a spot account they are the sells. `held` is what of each symbol no resting order holds (default: all of it).
    """
    drafts = []
    for aim in sizing.aims:
        quantity = _excess(aim, sizing.equity, book.quantity(aim.symbol))
        if quantity > 0:
            side = Side.SELL if book.quantity(aim.symbol) > 0 else Side.BUY
            drafts.append(Draft(aim.symbol, side, aim.mark, aim.target, aim.desired, quantity=+quantity))
    drafts.sort(key=lambda draft: -draft.value)
    return _checked(drafts, book.cash, markets, standing, frozenset(), held=held)


def plan_increases(
    sizing: Sizing,
    book: Book,
    markets: Mapping[Symbol, Market],
    *,
    standing: Standing = CALM,
    frozen: frozenset[Symbol] = frozenset(),
    slippage: Decimal = ZERO,
    margin: Margin | None = None,
) -> Plan:
    """Market orders that add to positions, the smallest first, ties in the order of the symbols.

    On a spot account they are buys in quote currency from `book.cash`. `frozen` holds the symbols with an UNKNOWN
    order. `slippage` raises the budget of each buy, so that an ideal venue that fills at mark * (1 + slippage) delivers
    the quantity that the mark stood for; a real venue gets none. `standing` is what surrounds the orders. With a
    `margin` the orders are in base currency, may sell short, and are limited by it in place of the cash.
    """
    drafts = []
    for aim in sizing.aims:
        value = min(abs(aim.desired), abs(aim.target * sizing.equity))  # of a flip what lies beyond zero
        if value == 0 or aim.desired * aim.target <= 0:
            continue
        side = Side.BUY if aim.target > 0 else Side.SELL
        if margin is None:
            draft = Draft(aim.symbol, side, aim.mark, aim.target, aim.desired, cost=value * (1 + slippage))
        else:
            quantity = +MONEY.divide(value, aim.mark)  # in the precision that venues and books count in
            draft = Draft(aim.symbol, side, aim.mark, aim.target, aim.desired, quantity=quantity, adds=True)
        drafts.append((value, draft))
    drafts.sort(key=lambda drafted: drafted[0])
    return _checked([draft for _, draft in drafts], book.cash, markets, standing, frozen, margin)


def _excess(aim: Aim, equity: Decimal, held: Decimal) -> Decimal:
    """How much of a position (base currency) must go: all of it for a target of zero or on the other side."""
    if held == 0:
        return ZERO
    if aim.target * held <= 0:
        return abs(held)
    now, wanted = abs(held * aim.mark), abs(aim.target * equity)
    return min(abs(held), MONEY.divide(now - wanted, aim.mark)) if wanted < now else ZERO


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
    standing: Standing,
    frozen: frozenset[Symbol],
    margin: Margin | None = None,
    held: Mapping[Symbol, Decimal] | None = None,
) -> Plan:
    """The drafts that pass risk; each one leaves less cash, margin and room within the limits to the next."""
    passed: list[Draft] = []
    decisions: list[Decision] = []
    for draft in drafts:
        market = markets.get(draft.symbol)
        if market is None:
            decisions.extend(_deny_all([draft.symbol], "unknown_market", f"the venue does not trade {draft.symbol}"))
            continue
        free = None if held is None else held.get(draft.symbol)
        allowed, said = check_order(draft, Situation(market, cash, frozen, margin, standing, free))
        decisions.extend(said)
        if allowed is not None:
            passed.append(allowed)
            standing = standing.after(allowed)
            if margin is None:
                cash -= reserved(market, allowed)
            else:
                margin = margin.after(market, allowed)
    return Plan(tuple(passed), tuple(decisions))


def _deny_all(symbols: Sequence[Symbol] | Mapping[Symbol, Any], code: str, reason: str) -> tuple[Decision, ...]:
    return tuple(Decision(symbol, Action.DENY, code, reason) for symbol in symbols)
