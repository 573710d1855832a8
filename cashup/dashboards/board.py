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
    equity: str = ""
    cash: str = ""
    bar: Millis | None = None
    bars: int = 0
    positions: dict[str, str] = field(default_factory=dict)
    orders: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    curve: list[list[Any]] = field(default_factory=list)
    worker: str = "not known yet"
    attempt: int | None = None
    alerts: list[Mapping[str, Any]] = field(default_factory=list)
    version: str | None = None
    report: Mapping[str, Any] | None = None
    at: dict[str, Millis] = field(default_factory=dict)
    seq: int = 0

    def load_deployment(self, row: Mapping[str, Any], now: Millis) -> None:
        """Take what the gateway says of the deployment and its worker."""
        attempt = row["attempt"]
        if attempt is None:
            self.worker, self.attempt = "not started" if row["desired"] == "stopped" else "waiting", None
        else:
            self.worker, self.attempt = attempt["state"], attempt["number"]
        self.version = (attempt or row).get("version")
        self.at["worker"] = now if attempt is None else attempt["heartbeat_at"]

    def load_curve(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take the equity curve of the gateway's snapshot; the rows are in order of time."""
        for row in rows:
            self._mark(row["bar"], row["equity"], row["cash"], row["at"])

    def load_positions(self, rows: Iterable[Mapping[str, Any]], now: Millis) -> None:
        """Take the positions of the gateway's snapshot."""
        self._hold({row["symbol"]: row["quantity"] for row in rows}, now)

    def load_orders(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take the orders of the gateway's snapshot, oldest first."""
        for row in rows:
            self._order(row, row["updated_at"])

    def load_alerts(self, rows: Iterable[Mapping[str, Any]], now: Millis) -> None:
        """Take the alerts that stand, of every deployment, the newest first."""
        self.alerts = list(rows)
        self.at["alerts"] = now

    def load_reports(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take the newest report of live against its re-run, when there is one."""
        self.report = next(iter(rows), None)

    def apply(self, event: Event) -> bool:
        """Take one event; False when it was seen before or says nothing that is shown."""
        if event.seq <= self.seq:
            return False
        self.seq = event.seq
        data = event.data
        match event.kind:
            case EventKind.BAR_PROCESSED:
                self._mark(data["bar"], data["equity"], data["cash"], event.at)
                self._hold(data["positions"], event.at)
            case EventKind.ORDER_CHANGED:
                self._order(data, event.at)
            case EventKind.ATTEMPT_STARTED | EventKind.ATTEMPT_READY:
                state = "starting" if event.kind is EventKind.ATTEMPT_STARTED else "ready"
                self.worker, self.attempt, self.at["worker"] = state, data["attempt"], event.at
                self.version = data.get("version", self.version)
            case EventKind.ATTEMPT_FINISHED:
                self.worker, self.attempt, self.at["worker"] = data["state"], data["attempt"], event.at
            case _:
                return False
        return True

    def _mark(self, bar: Millis, equity: str | None, cash: str, at: Millis) -> None:
        """Equity and cash at a bar; the last word on a bar counts, and an older bar says nothing new."""
        if self.bar is not None and bar < self.bar:
            return
        self.cash, self.at["cash"] = cash, at
        if equity is None:
            return  # something held has no price yet
        if self.bar == bar:
            self.curve.pop()
        else:
            self.bars += 1
        self.bar, self.equity = bar, equity
        self.curve.append([bar, float(equity)])
        if len(self.curve) > CURVE:
            self.curve = thin(self.curve, CURVE // 2)
        self.at["equity"] = self.at["curve"] = at

    def _hold(self, positions: Mapping[str, str], at: Millis) -> None:
        self.positions = {symbol: quantity for symbol, quantity in positions.items() if float(quantity)}
        self.at["positions"] = at

    def _order(self, row: Mapping[str, Any], at: Millis) -> None:
        """The newest word on an order; its place in the table is that of its creation."""
        key = row["client_order_id"]
        known = self.orders.get(key)
        if known is not None and known["updated_at"] > row["updated_at"]:
            return
        # An event does not say whose order it is; a new one is that of the worker that runs.
        self.orders[key] = {"version": known.get("version") if known is not None else self.version, **row}
        while len(self.orders) > ORDERS:
            del self.orders[next(iter(self.orders))]
        self.at["orders"] = max(at, self.at.get("orders", 0))
