"""What happened, in the past tense: the facts that leave the database through the outbox.

Every event is committed in the transaction that made it true, gets the next `seq`, and is fanned out by Redis.
Consumers drop what they have seen by `seq`, so a repeated delivery does nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cashup.types import Millis


class EventKind(StrEnum):
    """The kinds of events there are."""

    DEPLOYMENT_CHANGED = "deployment_changed"
    """data: deployment, desired (running, paused, stopped), state, renew (attempts up to it shall end)"""
    ATTEMPT_STARTED = "attempt_started"
    """data: deployment, attempt, version"""
    ATTEMPT_READY = "attempt_ready"
    """The worker has its warm-up bars and waits for the next close. data: deployment, attempt, bar"""
    BARS_MISSED = "bars_missed"
    """Bars closed while no worker decided them, the newest one at `bar`; what is done about them is `missed_bars`.
    data: deployment, attempt, bar, missed, missed_bars"""
    ATTEMPT_FINISHED = "attempt_finished"
    """data: deployment, attempt, state, reason, message"""
    EXIT_CHANGED = "exit_changed"
    """How far what `on_exit` asks for is. data: deployment, on_exit (cancel, flatten), state (begun, done, ended)"""
    INTENT_ACCEPTED = "intent_accepted"
    """data: deployment, key, kind, decisions; of targets also bar and targets, of an order what was asked for"""
    INTENT_FINISHED = "intent_finished"
    """What became of a cancel or an amendment. data: deployment, key, kind, state, decisions, orders"""
    ORDER_CHANGED = "order_changed"
    """data: the order as the API shows it"""
    FILL_BOOKED = "fill_booked"
    """data: the fill as the API shows it"""
    BAR_PROCESSED = "bar_processed"
    """The intent of this bar is decided and every order it made is terminal and booked.
    data: deployment, bar, equity, cash, positions"""
    ALERT_CHANGED = "alert_changed"
    """Something was raised, raised again, or looked at. data: the alert as the API shows it"""
    ACCOUNT_CHANGED = "account_changed"
    """data: account, state, message, and after a comparison with the venue its differences"""
    HALT_CHANGED = "halt_changed"
    """A halt was latched or lifted, on the stream of every deployment and account that it concerns.
    data: scope, name, code, state (`active` when it was lifted), reason, by, at"""


@dataclass(frozen=True, slots=True)
class Event:
    """One fact. `stream` is `deployment:<name>` or `account:<name>`; money in `data` is text."""

    seq: int
    stream: str
    kind: EventKind
    at: Millis
    data: Mapping[str, Any]
