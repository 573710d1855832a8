"""The desk of a deployment: its book, its orders on the way and its intents, and the steps from one to the next.

No I/O: each method changes the desk and writes into a `Turn`; the caller commits the turn, or throws the desk away and
reads it anew. Targets are carried out one after the other; the next are sized when those before have ended, so nothing
is ever planned beside an order of a target whose outcome is open. Explicit orders may rest meanwhile: what they hold is
not there for targets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from cashup.orders.ids import client_order_id
from cashup.orders.journal import Write
from cashup.orders.record import Record, remaining, reservation
from cashup.orders.state import AmendLapsed, Event, Lapsed, Order, apply
from cashup.trading.book import Book, apply_trade
from cashup.trading.commands import Command
from cashup.trading.intents import TIME_TO_LIVE, Intent, IntentState
from cashup.trading.ledger import Posting, post_trade
from cashup.trading.planner import Plan, Sizing, decide, plan_increases, plan_reductions
from cashup.trading.risk.round_trip import ClosedTrade, RoundTrip, trip_after
from cashup.trading.rules import Rules
from cashup.trading.states import SAVE_STATE
from cashup.trading.tables import books, positions
from cashup.trading.trips import ADD_CLOSED, SAVE_TRIPS, closed_row, trip_row
from cashup.trading.turn import ADD_EQUITY, Turn
from cashup.types import ZERO, Market, Millis, OrderRequest, OrderState, Side, Symbol, Trade

SAVE_BOOK = Write(
    "save_book",
    books,
    ("account", "quote", "capital", "cash", "reserved", "targets", "decided", "updated_at"),
    keys=("deployment",),
    mode="upsert",
)
SAVE_POSITIONS = Write(
    "save_positions",
    positions,
    ("asset", "quantity", "reserved", "cost", "realised", "updated_at"),
    keys=("deployment", "symbol"),
    mode="upsert",
)

TRIES = 3
"""How often an intent makes an order of which it is proven that the venue never had it."""

_UNPLACED = frozenset({OrderState.NOT_PLACED, OrderState.REJECTED_LOCAL})


@dataclass(slots=True)
class Desk:
    """`book` is all that the deployment owns, reserved or not; what orders hold of it is in their records.

    `prices` are those of its last trades, `trips` its positions since they were entered, `closed` the trades that
    protections look at, `moved` the symbols whose trips the turn has changed.
    """

    deployment: str
    account: str
    quote: str
    capital: Decimal
    book: Book
    rules: Rules = field(default_factory=Rules)
    decided: Millis | None = None
    intents: deque[Intent] = field(default_factory=deque)
    commands: dict[str, Command] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    prices: dict[Symbol, Decimal] = field(default_factory=dict)
    trips: dict[Symbol, RoundTrip] = field(default_factory=dict)
    closed: list[ClosedTrade] = field(default_factory=list)
    moved: set[Symbol] = field(default_factory=set)

    @property
    def busy(self) -> bool:
        """True while something waits for its moment: an intent, an order or an amendment that is not sent yet."""
        return bool(self.intents) or any(
            record.state is OrderState.PENDING_SEND or record.amendment_waits for record in self.records.values()
        )

    @property
    def free_cash(self) -> Decimal:
        """The cash that no order holds."""
        held = (record.reserved for record in self.records.values() if record.order.side is Side.BUY)
        return self.book.cash - sum(held, ZERO)

    def free_quantity(self, symbol: Symbol) -> Decimal:
        """What is held of a symbol's base currency and not by an order."""
        selling = (r for r in self.records.values() if r.order.symbol == symbol and r.order.side is Side.SELL)
        return self.book.quantity(symbol) - sum((record.reserved for record in selling), ZERO)

    def accept(self, intent: Intent, turn: Turn) -> None:
        """Take a new intent and carry it as far as it goes."""
        self.intents.append(intent)
        self.decided = intent.request.bar
        turn.new_intents.append(intent)
        if intent.request.state is not None:
            row = {"deployment": self.deployment, "bar": intent.request.bar, "updated_at": turn.now}
            turn.commit.add(SAVE_STATE, {**row, "state": intent.request.state})
        self.advance(turn)
        self.save(turn)

    def begin(self, intent: Intent, orders: Iterable[OrderRequest], turn: Turn) -> None:
        """Take an intent whose orders are known already."""
        self.intents.append(intent)
        turn.new_intents.append(intent)
        for request in orders:
            intent.orders.append(self.add(request, turn, intent))

    def advance(self, turn: Turn) -> None:
        """Go on with the oldest intent, and with the ones behind it as it ends."""
        while self.intents and not self._underway() and self._step(self.intents[0], turn):
            if self.intents[0].finished_at is not None:
                self.intents.popleft()

    def learn(self, record: Record, event: Event, turn: Turn) -> None:
        """Apply what was learnt of an order: its state, the money of its trades, what it holds and the end of that.

        Raises IntegrityError, having changed nothing, when it cannot be true of this order.
        """
        before = record.order
        record.order = apply(before, event)
        if isinstance(event, Trade) and event.trade_id not in before.trade_ids:
            self._book(record, event, turn)
        if record.order.amending is None:
            record.amend_before = None
        if record.order.settled:
            self._release(record, turn)
            self.records.pop(record.id, None)
        elif _terms(record.order) != _terms(before):
            self._hold(record, turn)
        turn.learnt(record, before, event)

    def lapse(self, turn: Turn) -> None:
        """Give up orders that were never sent and whose intent has run out of time, and amendments likewise."""
        for record in list(self.records.values()):
            if record.state is OrderState.PENDING_SEND and self._expired(record, turn.now):
                self.learn(record, Lapsed(), turn)
            elif record.amendment_waits and self._amendment_expired(record, turn.now):
                self.learn(record, AmendLapsed("the amendment was not sent in time"), turn)

    def give_up(self, record: Record, reason: str, turn: Turn) -> None:
        """An order is not sent, for a cause that passes: the next bar that wants the same tries again."""
        self.learn(record, Lapsed(reason), turn)
        for intent in self.intents:
            if intent.key == record.intent and intent.sizing is not None:
                self.book = self.book.with_targets(intent.sizing.as_held(self.book, {record.order.symbol}))

    def save(self, turn: Turn) -> None:
        """Write the book and the positions as they are at the end of the turn."""
        held = {Side.BUY: ZERO, Side.SELL: ZERO}
        reserved: dict[Symbol, Decimal] = {}
        for record in self.records.values():
            held[record.order.side] += record.reserved
            if record.order.side is Side.SELL:
                reserved[record.order.symbol] = reserved.get(record.order.symbol, ZERO) + record.reserved
        turn.commit.add(SAVE_BOOK, self._book_row(held[Side.BUY], turn.now))
        for symbol, position in self.book.positions.items():
            holds = reserved.get(symbol, ZERO)
            row = {
                "deployment": self.deployment,
                "symbol": symbol,
                "asset": turn.markets[symbol].base,
                "quantity": position.quantity - holds,
                "reserved": holds,
                "cost": position.cost,
                "realised": position.realised,
                "updated_at": turn.now,
            }
            turn.commit.add(SAVE_POSITIONS, row)
        rows = [trip_row(self.deployment, symbol, self.trips.get(symbol)) for symbol in sorted(self.moved)]
        turn.commit.add(SAVE_TRIPS, *rows)
        self.moved.clear()

    def symbols(self, intent: Intent) -> list[Symbol]:
        """The symbols whose price the intent needs: those it names and those that are held."""
        held = [symbol for symbol, position in self.book.positions.items() if position.quantity]
        return list(dict.fromkeys([*intent.request.targets, *held]))

    # -- the steps of an intent -----------------------------------------------------------------------------------

    def _step(self, intent: Intent, turn: Turn) -> bool:
        """One step; False when something must be waited for. Called when no order of the desk is on its way."""
        expired = turn.now > intent.expires_at
        again = [] if expired else self._unplaced(intent)
        if again:
            return self._place_again(intent, again, turn)
        if intent.state is IntentState.BUYING:
            self._end(intent, IntentState.DONE, turn)
        elif expired:
            self._end(intent, IntentState.EXPIRED, turn)
        elif intent.state is IntentState.PLANNED:
            return self._size(intent, turn)
        else:
            return self._buy(intent, turn)
        return True

    def _size(self, intent: Intent, turn: Turn) -> bool:
        known = self._marks(intent, turn)
        if known is None:
            return False
        verdict = decide(self.book, intent.request.targets, known, rebalance=intent.request.rebalance)
        intent.sizing, intent.marks = verdict.sizing, known
        intent.decisions.extend(verdict.decisions)
        row = {"deployment": self.deployment, "bar": intent.request.bar, "at": turn.now}
        turn.commit.add(ADD_EQUITY, {**row, "equity": self.book.equity(known), "cash": self.book.cash})
        self.book = self.book.with_targets(verdict.targets)
        intent.state = IntentState.SELLING
        turn.changed_intents[intent.deployment, intent.key] = intent
        standing = turn.standing(self.deployment, known)
        held = {aim.symbol: self.free_quantity(aim.symbol) for aim in verdict.sizing.aims} if self.records else None
        plan = plan_reductions(verdict.sizing, self.book, turn.markets, standing=standing, held=held)
        self._order(intent, plan, verdict.sizing, turn)
        return True

    def _marks(self, intent: Intent, turn: Turn) -> dict[Symbol, Decimal] | None:
        """A price of every symbol the intent needs; None while one is missing.

        What is still held of a symbol that nobody watches any more counts at the price that it last traded at.
        """
        known = {}
        for symbol in self.symbols(intent):
            mark = turn.mark(symbol)
            if mark is None and symbol not in intent.request.targets:
                mark = self.prices.get(symbol)
            if mark is None:
                return None
            known[symbol] = mark
        return known

    def _buy(self, intent: Intent, turn: Turn) -> bool:
        """Add what the sizing asks for; not beside an order of the account whose fate is unknown."""
        sizing, frozen = intent.sizing, turn.frozen()
        if sizing is not None and any(aim.desired > 0 and aim.symbol in frozen for aim in sizing.aims):
            return False
        intent.state = IntentState.BUYING
        turn.changed_intents[intent.deployment, intent.key] = intent
        if sizing is not None:
            standing = turn.standing(self.deployment, intent.marks)
            free = replace(self.book, cash=self.free_cash)
            plan = plan_increases(sizing, free, turn.markets, standing=standing)
            self._order(intent, plan, sizing, turn)
        return True

    def _end(self, intent: Intent, state: IntentState, turn: Turn) -> None:
        intent.state = state
        intent.finished_at = turn.now
        turn.changed_intents[intent.deployment, intent.key] = intent
        if intent.flattens:
            return
        held = {symbol: position.quantity for symbol, position in self.book.positions.items()}
        priced = all(symbol in intent.marks for symbol, quantity in held.items() if quantity)
        turn.processed.append(
            {
                "deployment": self.deployment,
                "key": intent.key,
                "bar": intent.request.bar,
                "state": state.value,
                "equity": self.book.equity(intent.marks) if priced else None,
                "cash": self.book.cash,
                "positions": held,
                "orders": [record.id for record in intent.orders],
            }
        )

    def _order(self, intent: Intent, plan: Plan, sizing: Sizing, turn: Turn) -> None:
        intent.decisions.extend(plan.decisions)
        if held := plan.held_back(sizing, self.book):
            self.book = self.book.with_targets(held)
        for draft in plan.drafts:
            intent.orders.append(self.add(draft.request(client_order_id(turn.now)), turn, intent))

    def _unplaced(self, intent: Intent) -> list[Record]:
        """Orders of which it is proven that the venue never had them, and that may be made once more."""
        newest: dict[tuple[Symbol, Side], list[Record]] = {}
        for record in intent.orders:
            newest.setdefault((record.order.symbol, record.order.side), []).append(record)
        return [tries[-1] for tries in newest.values() if tries[-1].state in _UNPLACED and len(tries) < TRIES]

    def _place_again(self, intent: Intent, unplaced: list[Record], turn: Turn) -> bool:
        """The same orders under new ids, a moment after they failed."""
        if any(turn.now - record.updated_at < turn.patience.retry for record in unplaced):
            return False
        for record in unplaced:
            intent.orders.append(self.add(record.request(client_order_id(turn.now)), turn, intent))
        return True

    def add(self, request: OrderRequest, turn: Turn, intent: Intent | Command) -> Record:
        """A new order of `intent`, not yet sent, with its money set aside."""
        asset, amount = reservation(turn.markets[request.symbol], request)
        record = Record(
            order=Order.of(request),
            account=self.account,
            deployment=self.deployment,
            intent=intent.key,
            bar=intent.request.bar if isinstance(intent, Intent) else None,
            reserved_asset=asset,
            reserved=amount,
            limits=self.rules.row,
            created_at=turn.now,
            updated_at=turn.now,
            reduces=request.side is Side.SELL,  # on spot a sell comes out of what is held
            flattens=isinstance(intent, Intent) and intent.flattens,
        )
        self.records[record.id] = record
        turn.create(record)
        source = "cash" if request.side is Side.BUY else "position"
        turn.post(self._posting(record, turn).move(asset, amount, source, "reserved"))
        return record

    # -- money ----------------------------------------------------------------------------------------------------

    def _book(self, record: Record, trade: Trade, turn: Turn) -> None:
        market = turn.markets[trade.symbol]
        posting = Posting(self.account, self.deployment, f"trade:{trade.symbol}:{trade.trade_id}", turn.now)
        record.reserved = post_trade(posting, trade, market.base, market.quote, record.reserved)
        turn.post(posting)
        turn.fill(record.id, record.deployment, trade)
        self.book = apply_trade(self.book, trade)
        self.prices[trade.symbol] = trade.price
        self._close(record, trade, market, turn)

    def _close(self, record: Record, trade: Trade, market: Market, turn: Turn) -> None:
        """Go on with the round trip in the symbol, and note the trade that has closed, if one has."""
        trip, closed = trip_after(self.trips.pop(trade.symbol, None), trade, market, _why(record))
        self.moved.add(trade.symbol)
        if trip is not None:
            self.trips[trade.symbol] = trip
        if closed is not None:
            turn.commit.add(ADD_CLOSED, closed_row(self.deployment, closed))
            self.closed.append(closed)

    def _hold(self, record: Record, turn: Turn) -> None:
        """The order's terms changed, or may: it holds what it may still take, as far as that is there."""
        buy = record.order.side is Side.BUY
        free = self.free_cash if buy else self.free_quantity(record.order.symbol)
        wanted = remaining(turn.markets[record.order.symbol], record.order) - record.reserved
        more = min(wanted, max(free, ZERO))
        turn.post(
            self._posting(record, turn).move(record.reserved_asset, more, "cash" if buy else "position", "reserved")
        )
        record.reserved += more

    def _release(self, record: Record, turn: Turn) -> None:
        """The order has ended and all its trades are booked: what it did not use is free again."""
        target = "cash" if record.order.side is Side.BUY else "position"
        turn.post(self._posting(record, turn).move(record.reserved_asset, record.reserved, "reserved", target))
        record.reserved = ZERO

    def _posting(self, record: Record, turn: Turn) -> Posting:
        return Posting(self.account, self.deployment, f"order:{record.id}", turn.now)

    def _book_row(self, reserved: Decimal, now: Millis) -> dict[str, Any]:
        return {
            "deployment": self.deployment,
            "account": self.account,
            "quote": self.quote,
            "capital": self.capital,
            "cash": self.book.cash - reserved,
            "reserved": reserved,
            "targets": dict(self.book.targets),
            "decided": self.decided,
            "updated_at": now,
        }

    def _underway(self) -> bool:
        """True while an order of a target has not ended."""
        return any(not record.explicit for record in self.records.values())

    def _expired(self, record: Record, now: Millis) -> bool:
        if record.explicit:
            return now > record.created_at + TIME_TO_LIVE
        return all(intent.key != record.intent or now > intent.expires_at for intent in self.intents)

    def _amendment_expired(self, record: Record, now: Millis) -> bool:
        return all(command.order != record.id or now > command.expires_at for command in self.commands.values())


def _why(record: Record) -> str:
    """For what a trade of the order leaves a position; a stop it cannot be, for none is traded live yet."""
    if record.flattens:
        return "flatten"
    return "order" if record.explicit else "target"


def _terms(order: Order) -> tuple[object, ...]:
    """What an order's reservation follows."""
    return order.quantity, order.price, order.amending
