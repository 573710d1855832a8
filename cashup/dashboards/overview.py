"""The overview: one deployment's money, positions, orders and worker, kept true by the gateway's stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ipywidgets import Box

from cashup.clock import isoformat
from cashup.dashboards.board import Board
from cashup.dashboards.report import ReportPanel
from cashup.dashboards.widgets import Chart, Header, Records, Tile, page, row, thin
from cashup.types import Millis

TONES = {"ready": "good", "starting": "warn", "waiting": "warn", "failed": "bad", "lost": "bad"}
STATES = {"filled": "good", "rejected": "bad", "rejected_local": "bad", "unknown": "bad", "open": "warn"}
ORDER_COLUMNS = [
    {"key": "bar", "label": "Bar (UTC)"},
    {"key": "symbol", "label": "Symbol"},
    {"key": "side", "label": "Side", "tones": {"buy": "good", "sell": "bad"}},
    {"key": "filled", "label": "Filled", "digits": 8},
    {"key": "price", "label": "Price", "digits": 4},
    {"key": "spent", "label": "Value", "digits": 2},
    {"key": "state", "label": "State", "tones": STATES},
    {"key": "version", "label": "Version"},
]
ALERT_COLUMNS = [
    {"key": "severity", "label": "Severity", "tones": {"critical": "bad", "warning": "warn"}},
    {"key": "since", "label": "Since (UTC)"},
    {"key": "deployment", "label": "Deployment"},
    {"key": "message", "label": "What"},
]
POSITION_COLUMNS = [{"key": "symbol", "label": "Symbol"}, {"key": "quantity", "label": "Quantity", "digits": 8}]


class Overview:
    """Draws a `Board`: only traits of widgets are changed, so it may be called from any asyncio task of the kernel."""

    def __init__(self) -> None:
        self.board = Board("")
        self.start = "0"
        self.header = Header(title="nothing is deployed yet")
        self.equity = Tile(label="Equity")
        self.cash = Tile(label="Cash")
        self.worker = Tile(label="Worker")
        self.bar = Tile(label="Bars", digits=0)
        self.alerts = Records(title="Alerts", columns=ALERT_COLUMNS, empty="no alert")
        self.alerts.layout.display = "none"
        self.curve = Chart(label="Equity")
        self.report = ReportPanel()
        self.positions = Records(title="Positions", columns=POSITION_COLUMNS, empty="nothing held")
        self.orders = Records(title="Orders", columns=ORDER_COLUMNS, empty="no order yet")

    @property
    def view(self) -> Box:
        """The page."""
        return page(
            self.header,
            row(self.equity, self.cash, self.worker, self.bar),
            self.alerts,
            self.curve,
            self.report.view,
            row(self.positions, self.orders, shares=(1, 3)),
        )

    def adopt(self, row: Mapping[str, Any]) -> None:
        """Show this deployment from now on; `row` is what the gateway says of it."""
        self.board, self.start = Board(row["name"]), row["capital"]
        self.header.title = f"{row['name']} on {row['account']}"
        self.equity.unit = self.cash.unit = row["quote"]
        self.curve.label, self.curve.base = f"Equity in {row['quote']}", float(row["capital"])

    def heard(self) -> None:
        """The gateway answered or sent something just now."""
        self.header.touch()

    def sign_out(self) -> None:
        """The session has ended: nothing more will come until somebody signs in again."""
        self.header.worker, self.header.tone = "signed out: reload to sign in", "bad"

    def draw(self, now: Millis) -> None:
        """Show the board as it is at `now`."""
        board = self.board
        with self.equity.hold_trait_notifications():
            self.equity.value, self.cash.value = board.equity, board.cash
            self.equity.note, self.equity.tone = _change(board.equity, self.start)
        self.worker.value, self.worker.tone = board.worker, TONES.get(board.worker, "")
        notes = [f"attempt {board.attempt}"] if board.attempt is not None else []
        self.worker.note = ", ".join(notes + ([f"version {board.version}"] if board.version else []))
        self.header.worker, self.header.tone = f"worker {board.worker}", TONES.get(board.worker, "")
        self.bar.value = str(board.bars) if board.bars else ""
        self.bar.note = "" if board.bar is None else f"last {_minute(board.bar)}"
        self.curve.points = list(thin(board.curve))  # a list of its own: the board's goes on growing
        self.positions.rows = [{"key": s, "symbol": s, "quantity": q} for s, q in sorted(board.positions.items())]
        self.alerts.rows = [_alert_row(alert) for alert in board.alerts]
        self.alerts.layout.display = "" if board.alerts else "none"
        self.orders.rows = [_order_row(order) for order in reversed(board.orders.values())]
        self.report.draw(board.report, now)
        self._age(now)

    def _age(self, now: Millis) -> None:
        figures = {
            "equity": (self.equity, self.bar),
            "cash": (self.cash,),
            "worker": (self.worker,),
            "alerts": (self.alerts,),
            "curve": (self.curve,),
            "positions": (self.positions,),
            "orders": (self.orders,),
        }
        for name, widgets in figures.items():
            if name in self.board.at:
                for widget in widgets:
                    widget.touch(now - self.board.at[name])


def _change(equity: str, start: str) -> tuple[str, str]:
    if not equity or not float(start):
        return "", ""
    change = float(equity) / float(start) - 1
    return f"{change:+.2%} since start", "good" if change >= 0 else "bad"


def _order_row(order: Mapping[str, Any]) -> dict[str, str]:
    bar = order["intent"]
    return {
        "key": order["client_order_id"],
        "bar": "" if bar is None else _minute(int(bar)),
        "symbol": order["symbol"],
        "side": order["side"],
        "filled": order["filled"],
        "price": order["average_price"] or "",
        "spent": order["spent"],
        "state": order["state"],
        "version": order.get("version") or "",
    }


def _alert_row(alert: Mapping[str, Any]) -> dict[str, str]:
    return {
        "key": str(alert["id"]),
        "severity": alert["severity"],
        "since": _minute(alert["at"]),
        "deployment": alert["deployment"],
        "message": alert["message"],
    }


def _minute(moment: Millis) -> str:
    return isoformat(moment)[:16].replace("T", " ")
