"""One turn of an account: what is decided or learnt in it becomes one commit, and only then acts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from cashup.events import EventKind
from cashup.orders.journal import ADD_FILLS, ADD_ORDERS, CHANGE_ORDERS, Commit, Write
from cashup.orders.patience import Patience
from cashup.orders.record import Record, view
from cashup.trading.intents import ADD_INTENTS, CHANGE_INTENTS, Intent, decision_view
from cashup.trading.ledger import ADD_ENTRIES, Posting
from cashup.trading.tables import equity
from cashup.types import Market, Millis, Symbol, Trade
from cashup.users.tables import audit

ADD_AUDIT = Write("add_audit", audit, ("at", "subject", "action", "object", "detail"))
ADD_EQUITY = Write("add_equity", equity, ("equity", "cash", "at"), keys=("deployment", "bar"), mode="upsert")

MarkOf = Callable[[Symbol], Decimal | None]


@dataclass(slots=True)
class Turn:
    """What changes in one turn. `commit` collects final rows; orders and intents are written as they end up."""

    account: str
    now: Millis
    markets: Mapping[Symbol, Market]
    mark: MarkOf
    patience: Patience
    commit: Commit = field(default_factory=Commit)
    new_orders: dict[str, Record] = field(default_factory=dict)
    changed_orders: dict[str, Record] = field(default_factory=dict)
    new_intents: list[Intent] = field(default_factory=list)
    changed_intents: dict[tuple[str, str], Intent] = field(default_factory=dict)
    fills: list[dict[str, Any]] = field(default_factory=list)
    processed: list[dict[str, Any]] = field(default_factory=list)

    def post(self, posting: Posting) -> None:
        """Add a transaction of the ledger."""
        rows = posting.rows()
        if rows:
            self.commit.add(ADD_ENTRIES, *rows)

    def fill(self, record: Record | None, trade: Trade) -> None:
        """Add an execution; without a record it is somebody else's on the same account."""
        row = {
            "account": self.account,
            "symbol": trade.symbol,
            "trade_id": trade.trade_id,
            "deployment": record.deployment if record else None,
            "client_order_id": record.id if record else trade.client_order_id,
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
        self._emit()
        return self.commit

    def _emit(self) -> None:
        for intent in self.new_intents:
            self._tell(intent.deployment, EventKind.INTENT_ACCEPTED, accepted(intent))
        for row in self.fills:
            self._tell(row["deployment"], EventKind.FILL_BOOKED, row)
        for record in (*self.new_orders.values(), *self.changed_orders.values()):
            self._tell(record.deployment, EventKind.ORDER_CHANGED, view(record.new_row()))
        for row in self.processed:
            self._tell(row["deployment"], EventKind.BAR_PROCESSED, row)

    def _tell(self, deployment: str | None, kind: EventKind, data: Mapping[str, Any]) -> None:
        stream = f"account:{self.account}" if deployment is None else f"deployment:{deployment}"
        self.commit.emit(stream, kind, self.now, data)

    @property
    def empty(self) -> bool:
        """True when there is nothing to commit."""
        return not (self.commit.writes or self.commit.events)


def accepted(intent: Intent) -> dict[str, Any]:
    """The data of INTENT_ACCEPTED."""
    decisions: Sequence[Any] = [decision_view(decision) for decision in intent.decisions]
    return {
        "deployment": intent.deployment,
        "key": intent.key,
        "bar": intent.request.bar,
        "targets": intent.request.body()["targets"],
        "decisions": decisions,
    }
