"""The history of orders: one row per thing learnt, with who did it and how it became known.

A row is written in the commit that changes the order, so the history of an order always leads to its state.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from cashup.orders.journal import Write
from cashup.orders.state import AmendAnswered, CancelAnswered, Event, Order
from cashup.orders.tables import order_events
from cashup.types import Millis, OrderReport, OrderState, SendResult, Trade, Wire

ADD_ORDER_EVENTS = Write(
    "add_order_events",
    order_events,
    ("client_order_id", "account", "at", "event", "actor", "from_state", "to_state", "cause", "detail"),
)

CREATED = "created"
LONGEST = 20_000
"""Characters of a request or an answer that are kept; its hash is always that of the whole."""

_NAMES: Mapping[type, str] = {SendResult: "answered", OrderReport: "reported", Trade: "traded"}


@dataclass(frozen=True, slots=True)
class Source:
    """Whose word something is, how it was learnt, and what belongs to it (the frames, the proof)."""

    actor: str = "engine"
    cause: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


ENGINE = Source()
"""What we do ourselves."""


def beginning(order: Order, account: str, at: Millis, source: Source) -> dict[str, Any]:
    """The row with which an order begins."""
    return _row(order, account, at, CREATED, None, source, {})


def event_row(
    order: Order, before: OrderState | None, event: Event, account: str, at: Millis, source: Source
) -> dict[str, Any]:
    """The row of `event`, which led from `before` to what `order` now is."""
    name = _NAMES.get(type(event)) or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(event).__name__).lower()
    return _row(order, account, at, name, before, source, _detail(event))


def _row(
    order: Order,
    account: str,
    at: Millis,
    event: str,
    before: OrderState | None,
    source: Source,
    detail: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        "client_order_id": order.client_order_id,
        "account": account,
        "at": at,
        "event": event,
        "actor": source.actor,
        "from_state": None if before is None else before.value,
        "to_state": order.state.value,
        "cause": source.cause,
        "detail": {**detail, **source.detail},
    }


def _detail(event: Event) -> dict[str, Any]:
    """What the event says; the request and the answer with their hashes."""
    if isinstance(event, CancelAnswered | AmendAnswered):
        event = event.answer
    said = {f.name: getattr(event, f.name) for f in fields(event)}
    answer = said.pop("answer", None)
    if isinstance(answer, SendResult):
        said |= {f.name: getattr(answer, f.name) for f in fields(answer)}
    wire = said.pop("wire", None)
    return said | (_wire(wire) if isinstance(wire, Wire) else {})


def _wire(wire: Wire) -> dict[str, Any]:
    said = {f.name: getattr(wire, f.name) for f in fields(wire)}
    for name in ("request", "body"):
        text = said.pop(name)
        if text:
            said |= {name: text[:LONGEST], f"{name}_sha256": hashlib.sha256(text.encode()).hexdigest()}
    return said
