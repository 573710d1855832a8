"""A deployment's life beside a re-run of the same notebook on the same bars: what differs, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from cashup.clock import isoformat
from cashup.trading.waterfall.band import within
from cashup.trading.waterfall.facts import Decided, Facts
from cashup.trading.waterfall.split import Split, largest, share_of
from cashup.trading.waterfall.world import Case, Rerun
from cashup.types import MONEY, Millis, Symbol

STORED = 100
"""Decisions that a stored report names at most; the first that differ."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One symbol at one bar: the target on record and that of the re-run on today's bars; None keeps the one before.

    `cause` says why they differ, or what kept the order from being what the target meant; empty when nothing did.
    """

    bar: Millis
    symbol: Symbol
    live: Decimal | None
    rerun: Decimal | None
    same: bool
    cause: str

    def to_json(self) -> dict[str, Any]:
        """Targets as text, times as ISO."""
        return {
            "bar": isoformat(self.bar),
            "symbol": self.symbol,
            "live": None if self.live is None else str(self.live),
            "rerun": None if self.rerun is None else str(self.rerun),
            "same": self.same,
            "cause": self.cause,
        }


@dataclass(frozen=True, slots=True)
class MadeOf:
    """What was run again: the notebook, its hash and parameters, the version it is, where the bars came from."""

    notebook: str
    notebook_hash: str
    params: Mapping[str, Any]
    version: str | None
    bars: str
    revised_bars: int
    unrecorded_bars: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LiveReport:
    """Live beside its re-run. Both begin with the same book and are measured at the same prices."""

    deployment: str
    quote: str
    timeframe: str
    capital: Decimal
    band: Decimal
    case: Case
    split: Split
    made_of: MadeOf
    choices: Sequence[Choice] = field(repr=False)

    @property
    def facts(self) -> Facts:
        """What live did."""
        return self.case.facts

    @property
    def in_band(self) -> bool:
        """True while live is within its band around the re-run."""
        return within(self.split.total, self.capital, self.band)

    @property
    def drift(self) -> Decimal:
        """Live less re-run as a fraction of the capital."""
        return share_of(self.split.total, self.capital)

    def counts(self) -> dict[str, int]:
        """How many targets there are, how many are the same, and each cause."""
        found = {"compared": len(self.choices), "same": sum(one.same for one in self.choices)}
        for one in self.choices:
            if one.cause:
                found[one.cause] = found.get(one.cause, 0) + 1
        return found

    def to_json(self, *, stored: bool = False) -> dict[str, Any]:
        """The whole report; money as text, ratios as numbers. A `stored` one names the first differences only."""
        noted = [one for one in self.choices if not one.same or one.cause]
        shown = noted[:STORED] if stored else self.choices
        facts, split = self.facts, self.split
        return {
            "deployment": self.deployment,
            "first_bar": isoformat(facts.first.bar),
            "last_bar": isoformat(facts.last.bar),
            "decisions_live": sum(decided.sized for decided in facts.decided),
            "quote": self.quote,
            "capital": f"{self.capital:f}",
            "start_equity": _money(facts.first.equity or facts.start.cash),
            "live_equity": _money(split.live),
            "rerun_equity": _money(split.rerun),
            "total": _money(split.total),
            "drift": float(self.drift),
            "band": float(self.band),
            "in_band": self.in_band,
            "parts": {name: _money(amount) for name, amount in split.parts.items()},
            "targets": self.counts(),
            "decisions": [one.to_json() for one in shown],
            "terms": {"fee": str(self.case.fee), "slippage": str(self.case.slippage)},
            "made_of": {
                "notebook": self.made_of.notebook,
                "notebook_hash": self.made_of.notebook_hash,
                "params": dict(self.made_of.params),
                "version": self.made_of.version,
                "bars": self.made_of.bars,
                "revised_bars": self.made_of.revised_bars,
                "unrecorded_bars": self.made_of.unrecorded_bars,
            },
            "notes": list(self.made_of.notes),
        }

    def report(self) -> str:
        """The report for people."""
        facts, split = self.facts, self.split
        counts = self.counts()
        lines = [
            f"{self.deployment}, {isoformat(facts.first.bar)} to {isoformat(facts.last.bar)}: "
            f"{sum(d.sized for d in facts.decided)} bars decided live",
            f"targets: {counts['same']} of {counts['compared']} are those of the re-run"
            + "".join(f"; {name.replace('_', ' ')} {n}" for name, n in _causes(counts).items()),
            "",
            f"  {'re-run':<16}{split.rerun:>18,.2f} {self.quote}",
            *(f"  {name.replace('_', ' '):<16}{amount:>+18,.2f}" for name, amount in split.parts.items() if amount),
            f"  {'live':<16}{split.live:>18,.2f} {self.quote}",
            "",
            self.verdict(),
            *(f"note: {note}" for note in self.made_of.notes),
        ]
        return "\n".join(lines)

    def verdict(self) -> str:
        """The outcome in one sentence."""
        total = self.split.total
        what = f"live is {abs(total):,.2f} {self.quote} {'behind' if total < 0 else 'ahead of'} its re-run"
        if not total:
            what = "live is exactly its re-run"
        where = f"{float(self.drift):+.3%} of the capital, {'within' if self.in_band else 'OUTSIDE'} the band"
        weighs = "" if not total else f"; most of it is {largest(self.split.parts).replace('_', ' ')}"
        return f"{what} ({where} of {float(self.band):.3%}){weighs}"


def choices(case: Case) -> list[Choice]:
    """Every target of the stretch, live and in the re-run, by bar and symbol."""
    facts = case.facts
    by_bar = {decided.bar: decided for decided in facts.decided}
    bars = {*case.seen.series.between(facts.first.bar, facts.last.bar), *by_bar} - {facts.last.bar}
    return [
        _choice(bar, symbol, by_bar.get(bar), case.today, case.seen) for bar in sorted(bars) for symbol in case.symbols
    ]


def _choice(bar: Millis, symbol: Symbol, decided: Decided | None, today: Rerun, seen: Rerun) -> Choice:
    wanted = today.targets.get(bar, {}).get(symbol)
    if decided is None or not decided.sized:
        return Choice(bar, symbol, None, wanted, same=False, cause="missed_bar")
    live = decided.targets.get(symbol)
    if live != wanted:
        revised = live == seen.targets.get(bar, {}).get(symbol)
        return Choice(bar, symbol, live, wanted, same=False, cause="data_revision" if revised else "signal")
    return Choice(bar, symbol, live, wanted, same=True, cause=_kept_from(decided, symbol))


def _kept_from(decided: Decided, symbol: Symbol) -> str:
    """What kept the target from being followed as it was meant."""
    if symbol in decided.denied or symbol in decided.allowed or symbol in decided.held_back:
        return "risk_blocked"
    if symbol in decided.dust:
        return "rounding"
    if any(place[0] == symbol and not done.whole for place, done in decided.done.items()):
        return "unfilled"
    return ""


def _causes(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if name not in ("compared", "same")}


def _money(amount: Decimal) -> str:
    return f"{amount.normalize(MONEY):f}"
