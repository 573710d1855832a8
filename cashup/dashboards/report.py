"""The newest nightly report on the overview: live less its re-run, the parts of that, and whether it is in the band."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ipywidgets import Box

from cashup.clock import isoformat
from cashup.dashboards.widgets import Records, Tile, row
from cashup.types import Millis

COLUMNS = [
    {"key": "part", "label": "Part"},
    {"key": "amount", "label": "Amount", "digits": 2},
]


class ReportPanel:
    """Hidden until there is a report."""

    def __init__(self) -> None:
        self.total = Tile(label="Live less backtest")
        self.parts = Records(title="Why live differs from its backtest", columns=COLUMNS, empty="it does not")
        self.view: Box = row(self.total, self.parts, shares=(1, 3))
        self.view.layout.display = "none"

    def draw(self, report: Mapping[str, Any] | None, now: Millis) -> None:
        """Show a report as the gateway has it; None: there is none yet."""
        self.view.layout.display = "" if report else "none"
        if not report:
            return
        with self.total.hold_trait_notifications():
            self.total.value, self.total.unit = report["total"], report["quote"]
            self.total.note = _note(report)
            self.total.tone = "good" if report["in_band"] else "bad"
        parts = report["document"].get("parts", {})
        self.parts.rows = [
            {"key": name, "part": name.replace("_", " "), "amount": amount}
            for name, amount in parts.items()
            if float(amount)
        ]
        for widget in (self.total, self.parts):
            widget.touch(now - report["at"])


def _note(report: Mapping[str, Any]) -> str:
    """How much that is of the capital, whether that is in the band, and up to which bar."""
    capital = float(report["capital"])
    drift = float(report["total"]) / capital if capital else 0.0
    where = "within" if report["in_band"] else "OUTSIDE"
    until = isoformat(report["last_bar"])[:16].replace("T", " ")
    return f"{drift:+.2%} of the capital, {where} the band of {float(report['band']):.2%}; until {until}"
