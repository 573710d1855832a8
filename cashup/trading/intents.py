"""Intents: what a strategy asked for, once per (deployment, key), and how far it has come.

planned -> selling -> buying -> done        an intent whose time runs out before it was carried out is `expired`
working -> done                             a cancel or an amendment, until the venue has said what the order then is
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, ClassVar

from cashup.errors import UsageError
from cashup.orders.journal import Write
from cashup.orders.record import Record
from cashup.storage.database import dump_json
from cashup.trading.planner import Sizing
from cashup.trading.requests import FLATTEN, IntentKind, check_key
from cashup.trading.risk import Decision
from cashup.trading.states import parse_state
from cashup.trading.tables import intents
from cashup.types import Millis, Symbol

TIME_TO_LIVE: Millis = 120_000
"""How long after its arrival an intent may still send orders."""

_MOST_DIGITS = 34


class IntentState(StrEnum):
    """How far an intent has come."""

    PLANNED = "planned"
    SELLING = "selling"
    BUYING = "buying"
    WORKING = "working"
    DONE = "done"
    EXPIRED = "expired"


ADD_INTENTS = Write(
    "add_intents",
    intents,
    (
        *("deployment", "key", "kind", "bar", "body", "body_hash", "fence", "state", "decisions", "plan"),
        *("created_at", "expires_at", "finished_at"),
    ),
)
CHANGE_INTENTS = Write(
    "change_intents",
    intents,
    ("state", "decisions", "plan", "finished_at"),
    keys=("deployment", "key"),
    mode="update",
)


@dataclass(frozen=True, slots=True)
class Request:
    """What arrives: the targets of one bar (None keeps the previous one) and the threshold for drift, if any.

    `state` is what the strategy keeps beyond this bar, as JSON. It is no part of what is asked for: repeated with the
    same key, the intent is the one that was taken, with the state that it had then.
    """

    kind: ClassVar[IntentKind] = IntentKind.TARGET

    key: str
    bar: Millis
    targets: Mapping[Symbol, Decimal | None]
    rebalance: Decimal | None = None
    state: str | None = None

    def body(self) -> dict[str, Any]:
        """The request as it is stored."""
        targets = {symbol: None if target is None else str(target) for symbol, target in self.targets.items()}
        return {"targets": targets, "rebalance": None if self.rebalance is None else str(self.rebalance)}

    @property
    def body_hash(self) -> str:
        """Equal for requests that ask for the same, whatever the order of the symbols or trailing zeros."""
        targets = sorted((s, None if t is None else str(t.normalize())) for s, t in self.targets.items())
        rebalance = None if self.rebalance is None else str(self.rebalance.normalize())
        return hashlib.sha256(dump_json([self.bar, targets, rebalance]).encode()).hexdigest()


@dataclass(slots=True)
class Intent:
    """One intent in memory. `orders` are all of its orders, `marks` the prices it was sized with."""

    deployment: str
    request: Request
    fence: int
    created_at: Millis
    expires_at: Millis
    state: IntentState = IntentState.PLANNED
    decisions: list[Decision] = field(default_factory=list)
    sizing: Sizing | None = None
    marks: dict[Symbol, Decimal] = field(default_factory=dict)
    finished_at: Millis | None = None
    orders: list[Record] = field(default_factory=list)

    @property
    def key(self) -> str:
        """The key, unique within the deployment."""
        return self.request.key

    @property
    def flattens(self) -> bool:
        """True when an operator had it made: it decides no bar, and no halt holds its orders back."""
        return self.key.startswith(FLATTEN)

    def new_row(self) -> dict[str, Any]:
        """The row that `ADD_INTENTS` writes."""
        return {
            **self.changed_row(),
            "kind": self.request.kind.value,
            "bar": self.request.bar,
            "body": self.request.body(),
            "body_hash": self.request.body_hash,
            "fence": self.fence,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
        }

    def changed_row(self) -> dict[str, Any]:
        """The row that `CHANGE_INTENTS` writes."""
        plan = None
        if self.sizing is not None:
            plan = {"sizing": self.sizing.to_json(), "marks": {s: str(mark) for s, mark in self.marks.items()}}
        return {
            "deployment": self.deployment,
            "key": self.key,
            "state": self.state.value,
            "decisions": [decision_view(decision) for decision in self.decisions],
            "plan": plan,
            "finished_at": self.finished_at,
        }

    def answer(self) -> dict[str, Any]:
        """What the strategy is told."""
        return answer(self.new_row(), [record.id for record in self.orders])

    def accepted(self) -> dict[str, Any]:
        """The data of INTENT_ACCEPTED."""
        return {
            "deployment": self.deployment,
            "key": self.key,
            "kind": self.request.kind.value,
            "bar": self.request.bar,
            "targets": self.request.body()["targets"],
            "decisions": [decision_view(decision) for decision in self.decisions],
        }


def answer(row: Mapping[str, Any], orders: list[str]) -> dict[str, Any]:
    """The answer to an intent, from its row and the ids of its orders, which sort by the time they were made.

    Asked again, the decisions and the orders of then are in it as they were; the state is that of now.
    """
    return {
        "key": row["key"],
        "kind": row["kind"],
        "state": row["state"],
        "decisions": row["decisions"],
        "orders": sorted(orders),
    }


def decision_view(decision: Decision) -> dict[str, str]:
    """A risk decision as the API shows it."""
    return {
        "symbol": decision.symbol,
        "action": decision.action.value,
        "code": decision.code,
        "reason": decision.reason,
    }


def parse_request(key: Any, bar: Any, targets: Any, rebalance: Any = None, state: Any = None) -> Request:
    """A request from JSON, floats as they are printed. Raises UsageError with what is wrong; nothing is stored then."""
    check_key(key)
    if type(bar) is not int or not 0 <= bar < 1 << 53:
        raise UsageError("an intent's bar is the bar's open time in milliseconds")
    if not isinstance(targets, dict) or not targets:
        raise UsageError('an intent has targets, such as {"BTC/USDT": 0.5}')
    parsed = {Symbol(str(symbol)): _number(value, f"the target of {symbol}") for symbol, value in targets.items()}
    return Request(key, bar, parsed, _number(rebalance, "rebalance"), parse_state(state))


def _number(value: Any, what: str) -> Decimal | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise UsageError(f"{what} is {value!r}; give a number between 0 and 1, or null to keep the last one")
    try:
        number = Decimal(repr(value) if isinstance(value, float) else value)
    except ArithmeticError:
        raise UsageError(f"{what} is {value!r}, which is not a number") from None
    if not number.is_finite() or len(number.as_tuple().digits) > _MOST_DIGITS or abs(number) > 1000:
        raise UsageError(f"{what} is {value!r}; give a finite number of sensible size, or null to keep the last one")
    return number
