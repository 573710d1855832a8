"""What the overview shows of one deployment, as plain data: a snapshot, then event after event. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cashup.dashboards.widgets import thin
from cashup.events import Event, EventKind
from cashup.types import Millis

ORDERS = 50
"""The table shows this many of the newest orders."""

CURVE = 4000
"""The curve is thinned when it has more points than this."""


@dataclass(slots=True)
class Board:
    """The figures of one deployment and when each was true (milliseconds, UTC; 0 when never)."""

    deployment: str
    quote: str = ""
    equity: str = ""
    cash: str = ""
    bar: Millis | None = None
    positions: dict[str, str] = field(default_factory=dict)
    orders: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    curve: list[list[Any]] = field(default_factory=list)
    worker: str = "no worker"
    attempt: int | None = None
    at: dict[str, Millis] = field(default_factory=dict)
    seq: int = 0

    def load_curve(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take the equity curve of the gateway's snapshot; the rows are in order of time."""
        for row in rows:
            self._book(row, row["at"])

    def load_orders(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take the orders of the gateway's snapshot, oldest first."""
        for row in rows:
            self._order(row, row["updated_at"])

    def load_worker(self, state: str, attempt: int | None, at: Millis) -> None:
        """Take what the gateway says of the worker."""
        self.worker, self.attempt, self.at["worker"] = state, attempt, at

    def apply(self, event: Event) -> bool:
        """Take one event; False when it was seen before or says nothing that is shown."""
        if event.seq <= self.seq:
            return False
        self.seq = event.seq
        match event.kind:
            case EventKind.BAR_PROCESSED:
                self._book(event.data, event.at)
            case EventKind.ORDER_CHANGED:
                self._order(event.data, event.at)
            case EventKind.ATTEMPT_STARTED:
                self.load_worker("starting", event.data["attempt"], event.at)
            case EventKind.ATTEMPT_READY:
                self.load_worker("running", event.data["attempt"], event.at)
            case EventKind.ATTEMPT_FINISHED:
                self.load_worker(str(event.data["state"]), event.data["attempt"], event.at)
            case _:
                return False
        return True

    def _book(self, row: Mapping[str, Any], at: Millis) -> None:
        if self.bar is not None and row["bar"] <= self.bar:
            return
        self.bar, self.equity, self.cash = row["bar"], row["equity"], row["cash"]
        self.positions = dict(row["positions"])
        self.curve.append([self.bar, float(self.equity)])
        if len(self.curve) > CURVE:
            self.curve = thin(self.curve, CURVE // 2)
        for figure in ("equity", "cash", "positions", "curve"):
            self.at[figure] = at

    def _order(self, row: Mapping[str, Any], at: Millis) -> None:
        key = row["client_order_id"]
        self.orders.pop(key, None)
        self.orders[key] = row
        while len(self.orders) > ORDERS:
            del self.orders[next(iter(self.orders))]
        self.at["orders"] = at
