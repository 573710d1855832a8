"""Verdicts: what a check found, and the report of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from html import escape
from typing import Any


class Verdict(StrEnum):
    """How a check ended. A warning does not fail the report."""

    PASSED = "passed"
    FAILED = "failed"
    WARNING = "warning"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that is wrong. `bar` is the open time (ISO, UTC) and `history` the last bar that was known.

    `full` is the value with the whole history, `truncated` the value it was compared with; None = NaN or not there.
    `output` is `target`, or the level function that differs (`stop_loss`, ...).
    """

    cause: str
    bar: str | None = None
    symbol: str | None = None
    full: Any = None
    truncated: Any = None
    output: str = "target"
    history: str | None = None

    def sentence(self) -> str:
        """One line for people."""
        if self.bar is None:
            return self.cause
        what = "" if self.output == "target" else f"{self.output} "
        return f"{self.bar} {self.symbol}: {what}{_show(self.full)} against {_show(self.truncated)}; {self.cause}"


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of one check; `facts` are further figures of it, such as `needed_warmup`."""

    name: str
    verdict: Verdict
    message: str
    evidence: Sequence[Evidence] = ()
    seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The outcome as JSON."""
        return {
            "name": self.name,
            "verdict": str(self.verdict),
            "message": self.message,
            "evidence": [asdict(one) for one in self.evidence],
            "seconds": round(self.seconds, 3),
            **self.facts,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """All checks of one strategy. `passed` when none failed."""

    strategy: str
    bars: int
    checks: Sequence[Check]

    @property
    def passed(self) -> bool:
        """True when no check failed."""
        return not self.failed

    @property
    def failed(self) -> list[Check]:
        """The checks that failed."""
        return [check for check in self.checks if check.verdict is Verdict.FAILED]

    def __getitem__(self, name: str) -> Check:
        """The check of that name; KeyError when it was not run."""
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(name)

    def to_json(self) -> dict[str, Any]:
        """`passed strategy bars needed_warmup checks`."""
        needed = next((check.facts["needed_warmup"] for check in self.checks if "needed_warmup" in check.facts), None)
        return {
            "passed": self.passed,
            "strategy": self.strategy,
            "bars": self.bars,
            "needed_warmup": needed,
            "checks": [check.to_json() for check in self.checks],
        }

    def lines(self) -> list[str]:
        """The report for people: a line per check, its evidence below it."""
        lines: list[str] = []
        for check in self.checks:
            lines.append(f"{check.verdict:<8} {check.name:<12} {check.message}")
            lines += [f"         - {one.sentence()}" for one in check.evidence]
        return lines

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        colours = {Verdict.PASSED: "#2e7d32", Verdict.FAILED: "#c62828", Verdict.WARNING: "#ef6c00"}
        rows = "".join(
            f"<tr><td style='color:{colours.get(check.verdict, '#757575')}'><b>{check.verdict}</b></td>"
            f"<td>{check.name}</td><td style='text-align:left'>{escape(check.message)}"
            + "".join(f"<br><small>{escape(one.sentence())}</small>" for one in check.evidence)
            + "</td></tr>"
            for check in self.checks
        )
        return f"<table>{rows}</table>"


def _show(value: Any) -> str:
    if value is None:
        return "NaN"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
