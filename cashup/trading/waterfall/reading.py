"""From what the gateway has on record to `Facts`: decisions, orders, fills and payments of one stretch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from cashup.errors import DataError
from cashup.trading.book import Book, Position, apply_trade
from cashup.trading.requests import FLATTEN
from cashup.trading.risk import Action
from cashup.trading.waterfall.facts import ByHand, Decided, Done, Facts, Place
from cashup.types import MONEY, ZERO, Millis, Side, Symbol, Trade

Row = Mapping[str, Any]

MODELLED = frozenset(
    {
        *("allowed", "insufficient_cash", "insufficient_margin", "negative_target", "no_equity"),
        *("targets_above_one", "targets_above_leverage", "below_minimum"),
    }
)
"""Codes of decisions that every re-run takes by itself, from its own cash and minimums; the others are risk's."""


@dataclass(frozen=True, slots=True)
class Records:
    """What is on record of a deployment, as the API shows it, oldest first."""

    decisions: Sequence[Row]
    orders: Sequence[Row]
    fills: Sequence[Row]
    payments: Sequence[Row]


def read_facts(name: str, records: Records, since: Millis = 0) -> Facts:
    """The stretch from the first decision on a bar at or after `since` that was sized, to the last one that was.

    The decisions before `since`, as far as they are there, tell the targets that the book had. Raises DataError when
    there are not two such decisions.
    """
    orders = {row["client_order_id"]: row for row in records.orders}
    by_intent: dict[str, list[Row]] = defaultdict(list)
    for row in records.orders:
        by_intent[str(row["intent"])].append(row)
    trades: dict[str, list[Trade]] = defaultdict(list)
    for row in records.fills:
        trades[str(row["client_order_id"])].append(_trade(row))
    every = [_decided(row, by_intent[str(row["key"])], trades) for row in records.decisions]
    inside = _stretch(name, [one for one in every if one.bar >= since])
    first = inside[0]
    earlier = [one for one in every if one.bar < first.bar]
    happened = [_ByHandOrNot(row, orders.get(str(row["client_order_id"]))) for row in records.fills]
    keys = {str(row["key"]) for row in records.decisions if int(row["bar"]) >= first.bar}
    before = [one for one in happened if one.booked_at <= first.at and one.intent not in keys]
    cash = next(Decimal(row["cash"]) for row in records.decisions if row["bar"] == first.bar)
    book = _holding(cash, [one.trade for one in before])
    start = book.with_targets(_targets(earlier, book, first))
    later = [one for one in happened if one.booked_at > first.at or one.intent in keys]
    return Facts(inside, start, _by_hand(later, inside, book), _paid_in(records.payments, inside))


def _stretch(name: str, decided: Sequence[Decided]) -> tuple[Decided, ...]:
    """From the first to the last decision that was sized."""
    sized = [place for place, one in enumerate(decided) if one.sized]
    if not sized:
        raise DataError(
            f"{name} has decided no bar yet; a report compares decisions, so ask again after two closes",
            code="no_decision",
        )
    if len(sized) == 1:
        raise DataError(
            f"{name} has decided one bar so far; what came of it is measured at the next one", code="no_decision"
        )
    return tuple(decided[sized[0] : sized[-1] + 1])


# -- decisions --------------------------------------------------------------------------------------------------------


def _decided(row: Row, orders: Sequence[Row], trades: Mapping[str, Sequence[Trade]]) -> Decided:
    marks = {Symbol(symbol): Decimal(mark) for symbol, mark in row["marks"].items()}
    done = {place: _done(tries, trades) for place, tries in _by_place(orders).items()}
    denied, allowed = _risk(row, done, marks)
    expired = row["state"] == "expired"
    unsent = {place[0] for place, tries in _by_place(orders).items() if _held_back(tries[-1])}
    held_back = frozenset() if expired else frozenset(unsent)
    equity = row["equity"]
    return Decided(
        bar=int(row["bar"]),
        at=int(row["created_at"] if row["at"] is None else row["at"]),
        targets={Symbol(s): None if t is None else Decimal(t) for s, t in row["targets"].items()},
        rebalance=None if row["rebalance"] is None else Decimal(row["rebalance"]),
        marks=marks,
        equity=None if equity is None else Decimal(equity),
        denied=denied,
        allowed=allowed,
        held_back=held_back,
        dust=frozenset(Symbol(one["symbol"]) for one in row["decisions"] if one["code"] == "below_minimum"),
        done={place: one for place, one in done.items() if place[0] not in denied and place[0] not in held_back},
        expired=expired,
    )


def _risk(
    row: Row, done: Mapping[Place, Done], marks: Mapping[Symbol, Decimal]
) -> tuple[dict[Symbol, str], dict[Symbol, Decimal]]:
    """What risk stopped, and what it cut to how much."""
    denied: dict[Symbol, str] = {}
    allowed: dict[Symbol, Decimal] = {}
    for one in row["decisions"]:
        symbol, code = Symbol(one["symbol"]), str(one["code"])
        if code in MODELLED:
            continue
        made = next((order for place, order in done.items() if place[0] == symbol), None)
        if one["action"] == Action.DENY.value or made is None:
            denied[symbol] = code
        elif one["action"] == Action.SHRINK.value:
            allowed[symbol] = made.cost if made.cost is not None else (made.quantity or ZERO) * marks[symbol]
    return denied, allowed


def _held_back(order: Row) -> bool:
    """True for an order that was never sent although there was time."""
    return order["state"] == "expired" and order["exchange_order_id"] is None and not Decimal(order["filled"])


def _by_place(orders: Iterable[Row]) -> dict[Place, list[Row]]:
    """The orders of one decision by symbol and side; several are the same one made again."""
    places: dict[Place, list[Row]] = defaultdict(list)
    for row in orders:
        places[Symbol(row["symbol"]), Side(row["side"])].append(row)
    return dict(places)


def _done(tries: Sequence[Row], trades: Mapping[str, Sequence[Trade]]) -> Done:
    last = tries[-1]
    return Done(
        quantity=_money(last["quantity"]),
        cost=_money(last["cost"]),
        trades=tuple(trade for row in tries for trade in trades.get(row["client_order_id"], ())),
        whole=last["state"] == "filled",
    )


# -- the book ---------------------------------------------------------------------------------------------------------


def _holding(cash: Decimal, before: Sequence[Trade]) -> Book:
    """The book with its recorded cash and what all trades before have left in it."""
    book = Book(ZERO)
    for trade in before:
        book = apply_trade(book, trade)
    positions = {symbol: Position(held.quantity) for symbol, held in book.positions.items() if held.quantity}
    return Book(cash, positions)


def _targets(earlier: Sequence[Decided], book: Book, first: Decided) -> dict[Symbol, Decimal]:
    """The targets that the book had before the first decision: those of the decisions before, the newest last.

    Where none is known and something is held, it is what was held.
    """
    known: dict[Symbol, Decimal] = {}
    for one in earlier:
        known |= {s: t for s, t in one.targets.items() if t is not None and s not in one.denied and one.sized}
    for symbol, held in book.positions.items():
        if symbol not in known and first.equity and symbol in first.marks:
            known[symbol] = MONEY.divide(held.quantity * first.marks[symbol], first.equity)
    return known


# -- what no decision made --------------------------------------------------------------------------------------------


class _ByHandOrNot:
    """A fill with what is known of its order."""

    def __init__(self, row: Row, order: Row | None) -> None:
        self.trade = _trade(row)
        self.booked_at = int(row["booked_at"])
        self.intent = "" if order is None else str(order["intent"])
        self.flattens = self.intent.startswith(FLATTEN)
        self.by_hand = order is None or order["bar"] is None or self.flattens


def _by_hand(later: Sequence[_ByHandOrNot], inside: Sequence[Decided], book: Book) -> dict[Millis, tuple[ByHand, ...]]:
    """The executions by hand, each under the bar before whose decision it was booked."""
    found: dict[Millis, list[ByHand]] = defaultdict(list)
    for one in later:
        held = book.quantity(one.trade.symbol)
        book = apply_trade(book, one.trade)
        bar = _next(inside, one.booked_at)
        if one.by_hand and bar is not None:
            found[bar].append(ByHand(one.trade, held, one.flattens))
    return {bar: tuple(those) for bar, those in found.items()}


def _paid_in(payments: Sequence[Row], inside: Sequence[Decided]) -> dict[Millis, Decimal]:
    paid: dict[Millis, Decimal] = {}
    for at, amount in _after(payments, inside[0].at):
        bar = _next(inside, at)
        if bar is not None:
            paid[bar] = paid.get(bar, ZERO) + amount
    return paid


def _after(payments: Sequence[Row], moment: Millis) -> Iterator[tuple[Millis, Decimal]]:
    return ((int(row["at"]), Decimal(row["amount"])) for row in payments if int(row["at"]) > moment)


def _next(inside: Sequence[Decided], moment: Millis) -> Millis | None:
    """The first decision that was sized after `moment`."""
    return next((one.bar for one in inside if one.sized and one.at >= moment), None)


def _trade(row: Row) -> Trade:
    return Trade(
        trade_id=str(row["trade_id"]),
        exchange_order_id=str(row["exchange_order_id"]),
        client_order_id=row["client_order_id"],
        symbol=Symbol(row["symbol"]),
        side=Side(row["side"]),
        price=Decimal(row["price"]),
        quantity=Decimal(row["quantity"]),
        fee=Decimal(row["fee"]),
        fee_currency=str(row["fee_currency"]),
        time=int(row["time"]),
    )


def _money(text: Any) -> Decimal | None:
    return None if text is None else Decimal(text)
