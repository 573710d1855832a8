"""Commands: intents about a single order (place, cancel, amend), once per (deployment, key), and what became of them.

A command to place is done when its order is made, or denied; the order then has a life of its own. One to cancel or to
amend is `working` until the venue has said what the order is, and its last decision says how it ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from cashup.trading.intents import IntentState, answer, decision_view
from cashup.trading.requests import Amend, Cancel, OrderIntent, body_hash
from cashup.trading.risk import Action, Decision
from cashup.types import Millis


@dataclass(frozen=True, slots=True)
class By:
    """Who asks: `subject` for the record, and the `fence` of the attempt when it is a worker."""

    subject: str
    fence: int | None = None


@dataclass(slots=True)
class Command:
    """One command in memory. `order` is the client order id that it is about, none when the order was denied."""

    deployment: str
    request: OrderIntent
    by: By
    created_at: Millis
    expires_at: Millis
    order: str | None = None
    state: IntentState = IntentState.WORKING
    decisions: list[Decision] = field(default_factory=list)
    finished_at: Millis | None = None

    @property
    def key(self) -> str:
        """The key, unique within the deployment."""
        return self.request.key

    def finish(self, now: Millis, *decisions: Decision, state: IntentState = IntentState.DONE) -> None:
        """It is carried out, or cannot be, and why."""
        self.decisions.extend(decisions)
        self.state, self.finished_at = state, now

    def new_row(self) -> dict[str, Any]:
        """The row that `ADD_INTENTS` writes."""
        return {
            **self.changed_row(),
            "kind": self.request.kind.value,
            "bar": None,
            "body": self.request.body(),
            "body_hash": body_hash(self.request),
            "fence": self.by.fence or 0,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
        }

    def changed_row(self) -> dict[str, Any]:
        """The row that `CHANGE_INTENTS` writes."""
        return {
            "deployment": self.deployment,
            "key": self.key,
            "state": self.state.value,
            "decisions": [decision_view(decision) for decision in self.decisions],
            "plan": None,
            "finished_at": self.finished_at,
        }

    def answer(self) -> dict[str, Any]:
        """What whoever asked is told."""
        return answer(self.new_row(), [] if self.order is None else [self.order])

    def accepted(self) -> dict[str, Any]:
        """The data of INTENT_ACCEPTED."""
        shown = self.answer()
        return {"deployment": self.deployment, "key": self.key, "kind": shown["kind"], **self.request.body()} | {
            "decisions": shown["decisions"],
            "orders": shown["orders"],
        }


def read_command(row: Mapping[str, Any]) -> Command:
    """An unfinished command as it lies in the table: one to cancel or to amend."""
    body = row["body"]
    request: Cancel | Amend = Cancel(row["key"], body["order"])
    if row["kind"] == Amend.kind:
        request = Amend(row["key"], body["order"], _amount(body["quantity"]), _amount(body["price"]))
    return Command(
        deployment=row["deployment"],
        request=request,
        by=By("", row["fence"] or None),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        order=body["order"],
        state=IntentState(row["state"]),
        decisions=[Decision(d["symbol"], Action(d["action"]), d["code"], d["reason"]) for d in row["decisions"]],
        finished_at=row["finished_at"],
    )


def _amount(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
