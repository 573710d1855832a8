"""One turn of an account: what is decided or learnt in it becomes one commit, and only then acts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from cashup.events import EventKind
from cashup.orders.history import ADD_ORDER_EVENTS, ENGINE, Source, beginning, event_row
from cashup.orders.journal import ADD_FILLS, ADD_ORDERS, CHANGE_ORDERS, NOTE_ORDERS, Commit, Write
from cashup.orders.patience import Patience
from cashup.orders.record import Record, view
from cashup.orders.state import Event, Order
from cashup.trading.commands import Command
from cashup.trading.intents import ADD_INTENTS, CHANGE_INTENTS, Intent
from cashup.trading.ledger import ADD_ENTRIES, HOLDINGS, Posting
from cashup.trading.risk import Standing
from cashup.trading.tables import equity
from cashup.types import ZERO, Market, Millis, OrderReport, Symbol, Trade
from cashup.users.tables import audit

ADD_AUDIT = Write("add_audit", audit, ("at", "subject", "action", "object", "detail"))
ADD_EQUITY = Write("add_equity", equity, ("equity", "cash", "at"), keys=("deployment", "bar"), mode="upsert")

MarkOf = Callable[[Symbol], Decimal | None]
StandingOf = Callable[[str, Mapping[Symbol, Decimal]], Standing]
"""What surrounds the orders of a deployment, at these marks."""


@dataclass(slots=True)
class Turn:
    """What changes in one turn. `commit` collects final rows; orders and intents are written as they end up.

    `source` says whose word is being applied; it goes into the history of the orders that change by it. `of_account` is
    by how much what belongs to the account itself has changed, per asset.
    """

    account: str
    now: Millis
    markets: Mapping[Symbol, Market]
    mark: MarkOf
    patience: Patience
    standing: StandingOf
    frozen: Callable[[], frozenset[Symbol]]
    commit: Commit = field(default_factory=Commit)
    new_orders: dict[str, Record] = field(default_factory=dict)
    changed_orders: dict[str, Record] = field(default_factory=dict)
    external: dict[str, dict[str, Any]] = field(default_factory=dict)
    new_intents: list[Intent | Command] = field(default_factory=list)
    changed_intents: dict[tuple[str, str], Intent | Command] = field(default_factory=dict)
    finished: list[Command] = field(default_factory=list)
    fills: list[dict[str, Any]] = field(default_factory=list)
    processed: list[dict[str, Any]] = field(default_factory=list)
    of_account: dict[str, Decimal] = field(default_factory=dict)
    source: Source = ENGINE

    def post(self, posting: Posting) -> None:
        """Add a transaction of the ledger."""
        rows = posting.rows()
        if rows:
            self.commit.add(ADD_ENTRIES, *rows)
        for row in rows:
            if row["deployment"] is None and row["kind"] in HOLDINGS:
                self.of_account[row["asset"]] = self.of_account.get(row["asset"], ZERO) + row["amount"]

    def fill(self, client_order_id: str, deployment: str | None, trade: Trade) -> None:
        """Add an execution; without a deployment it is somebody else's on the same account."""
        row = {
            "account": self.account,
            "symbol": trade.symbol,
            "trade_id": trade.trade_id,
            "deployment": deployment,
            "client_order_id": client_order_id,
            "exchange_order_id": trade.exchange_order_id,
            "side": trade.side.value,
            "price": trade.price,
            "quantity": trade.quantity,
            "fee": trade.fee,
            "fee_currency": trade.fee_currency,
            "time": trade.time,
            "booked_at": self.now,
        }
        self.commit.add(ADD_FILLS, row)
        self.fills.append(row)

    def audit(self, subject: str, action: str, target: str, detail: Mapping[str, Any]) -> None:
        """Add a row to the audit trail."""
        row = {"at": self.now, "subject": subject, "action": action, "object": target, "detail": dict(detail)}
        self.commit.add(ADD_AUDIT, row)

    def create(self, record: Record) -> None:
        """A new order."""
        self.new_orders[record.id] = record
        self.began(record.order, record.account, self.source)

    def learnt(self, record: Record, before: Order, event: Event) -> None:
        """`event` made of `before` what the record now is."""
        if record.order != before:
            self.changed(record)
        self.noted(record.order, record.account, before, event)

    def began(self, order: Order, account: str, source: Source) -> None:
        """The first row in the history of `order`."""
        self.commit.add(ADD_ORDER_EVENTS, beginning(order, account, self.now, source))

    def noted(self, order: Order, account: str, before: Order, event: Event) -> None:
        """The next row in the history of `order`; a report or trade that repeats what is known leaves none."""
        if order != before or not isinstance(event, OrderReport | Trade):
            row = event_row(order, before.state, event, account, self.now, self.source)
            self.commit.add(ADD_ORDER_EVENTS, row)

    def changed(self, record: Record) -> None:
        """The record is not what it was."""
        record.updated_at = self.now
        if record.id not in self.new_orders:
            self.changed_orders[record.id] = record

    def finish(self) -> Commit:
        """Everything as one commit; facts in the order in which they came to be."""
        if self.new_intents:
            self.commit.add(ADD_INTENTS, *(intent.new_row() for intent in self.new_intents))
        known = {(intent.deployment, intent.key) for intent in self.new_intents}
        changed = [intent.changed_row() for name, intent in self.changed_intents.items() if name not in known]
        if changed:
            self.commit.add(CHANGE_INTENTS, *changed)
        if self.new_orders:
            self.commit.add(ADD_ORDERS, *(record.new_row() for record in self.new_orders.values()))
        if self.changed_orders:
            self.commit.add(CHANGE_ORDERS, *(record.changed_row() for record in self.changed_orders.values()))
        if self.external:
            self.commit.add(NOTE_ORDERS, *self.external.values())
        self._emit()
        return self.commit

    def _emit(self) -> None:
        for intent in self.new_intents:
            self._tell(intent.deployment, EventKind.INTENT_ACCEPTED, intent.accepted())
        for row in self.fills:
            self._tell(row["deployment"], EventKind.FILL_BOOKED, row)
        for record in (*self.new_orders.values(), *self.changed_orders.values()):
            self._tell(record.deployment, EventKind.ORDER_CHANGED, view(record.new_row()))
        for row in self.external.values():
            self._tell(None, EventKind.ORDER_CHANGED, view(row))
        for command in self.finished:
            data = {"deployment": command.deployment, **command.answer()}
            self._tell(command.deployment, EventKind.INTENT_FINISHED, data)
        for row in self.processed:
            self._tell(row["deployment"], EventKind.BAR_PROCESSED, row)

    def _tell(self, deployment: str | None, kind: EventKind, data: Mapping[str, Any]) -> None:
        stream = f"account:{self.account}" if deployment is None else f"deployment:{deployment}"
        self.commit.emit(stream, kind, self.now, data)

    @property
    def empty(self) -> bool:
        """True when there is nothing to commit."""
        return not (self.commit.writes or self.commit.events)
