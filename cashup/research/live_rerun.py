"""Running a deployment's notebook again on the bars of its life: what `cashup live report` and notebooks call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from cashup.client import Client
from cashup.errors import DataError, NotFound
from cashup.markets.lake import Lake
from cashup.research.asked import About, asked
from cashup.research.life_bars import life_bars
from cashup.research.live_report import LiveReport, MadeOf, choices
from cashup.research.spec import RunSpec
from cashup.settings import Settings
from cashup.strategies.notebook import notebook_hash
from cashup.strategies.versions import read_version
from cashup.trading.replay import exact
from cashup.trading.waterfall.band import BAND
from cashup.trading.waterfall.facts import Facts
from cashup.trading.waterfall.reading import Records, read_facts
from cashup.trading.waterfall.split import split
from cashup.trading.waterfall.world import Case
from cashup.types import FeeIn, Market, Millis, Symbol

Row = Mapping[str, Any]

MOST = 20_000
"""Bars that a report goes back when nobody says how far: two weeks of 1-minute bars, half a minute of re-running."""

BEFORE = 100
"""Decisions before the stretch that are looked at for the targets that the book had."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a deployment runs, or ran when nothing frozen is there, with the terms that it was promoted on."""

    notebook: Path
    params: Mapping[str, Any]
    version: str | None
    fee: float
    slippage: float
    notes: tuple[str, ...] = ()


def live_report(
    client: Client,
    name: str,
    settings: Settings,
    *,
    since: Millis | None = None,
    until: Millis | None = None,
    fee: float | None = None,
    slippage: float | None = None,
) -> LiveReport:
    """Compare what deployment `name` did on the bars in [since, until) with a re-run of its notebook on them.

    `fee` and `slippage` are the fractions to model; default: those that its version was promoted on, else those of a
    backtest. Raises NotFound for no such deployment, DataError before two bars are decided or without their bars, and
    NotebookError when its notebook can no longer be run.
    """
    row = client.deployment(name)
    source = source_of(row, settings.versions_path)
    with asked(source.notebook, source.params) as strategy:
        about = strategy.about
        begins, cut = _begin(row, about, since)
        records = _records(client, name, max(begins - BEFORE * about.bar_millis, 0), until)
        if since is None:
            begins, cut = _of_version(records.decisions, source.version, begins, cut)
        facts = read_facts(name, records, begins)
        span = facts.first.bar, facts.last.bar
        exchange = str(client.account(row["account"])["exchange"])
        bars = life_bars(client, name, exchange, about, Lake(settings.lake_path), *span)
        today = strategy.rerun(bars.today, *span)
        seen = today if bars.seen is bars.today else strategy.rerun(bars.seen, *span)
    case = Case(
        facts=facts,
        symbols=about.symbols,
        today=today,
        seen=seen,
        markets=_markets(client, name, about.symbols),
        fee=exact(source.fee if fee is None else fee),
        slippage=exact(source.slippage if slippage is None else slippage),
        rebalance=None if about.rebalance is None else exact(about.rebalance),
    )
    made_of = MadeOf(
        notebook=str(source.notebook),
        notebook_hash=notebook_hash(source.notebook),
        params=source.params,
        version=source.version,
        bars=bars.where,
        revised_bars=bars.revised,
        unrecorded_bars=bars.unrecorded,
        notes=(*source.notes, *cut, *_notes(about, facts, begins, bars.unrecorded)),
    )
    return LiveReport(
        deployment=name,
        quote=str(row["quote"]),
        timeframe=about.timeframe,
        capital=Decimal(row["capital"]),
        band=Decimal(str(row["spec"].get("report_band", BAND))),
        case=case,
        split=split(case),
        made_of=made_of,
        choices=choices(case),
    )


def source_of(row: Row, versions: Path) -> Source:
    """The frozen notebook of the deployment's version, or its working copy, which may have changed since.

    Raises IntegrityError for a version that was tampered with.
    """
    spec, ident = row["spec"], row["spec"].get("version")
    usual = RunSpec()
    path, notes = Path(spec["notebook"]), []
    if ident:
        try:
            frozen = read_version(versions, ident)
        except NotFound:
            notes.append(f"version {ident} is not in {versions}; the notebook's working copy was run")
        else:
            terms = frozen.document.get("spec", {})
            fee, slippage = terms.get("fee", usual.fee), terms.get("slippage", usual.slippage)
            return Source(frozen.path, frozen.params, ident, fee, slippage)
    attempt = row["attempt"]
    if _changed(path, spec.get("notebook_hash"), attempt):
        notes.append("the notebook has changed since, which may show in the signal")
    return Source(path, spec.get("params", {}), None, usual.fee, usual.slippage, tuple(notes))


def _changed(path: Path, known: str | None, attempt: Row | None) -> bool:
    """True when the notebook is not what was deployed, as far as that is known."""
    if not path.is_file():
        return False  # running it says so
    if known is not None:
        return notebook_hash(path) != known
    return attempt is not None and path.stat().st_mtime * 1000 > attempt["started_at"]


# -- what live did -----------------------------------------------------------------------------------------------------


def _begin(row: Row, about: About, since: Millis | None) -> tuple[Millis, list[str]]:
    """Where the stretch begins: where it was asked to, else with the newest `MOST` bars; and a note when that cuts."""
    if since is not None:
        return since, []
    newest = MOST * about.bar_millis
    first = max((row["last_decided"] or 0) - newest, 0)
    cut = row["created_at"] < first
    return first, [f"only the newest {MOST:,} bars; --since begins earlier"] if cut else []


def _of_version(
    decisions: Sequence[Row], version: str | None, begins: Millis, notes: list[str]
) -> tuple[Millis, list[str]]:
    """Where the decisions of this version begin, when another one decided before; and a note then."""
    others = [int(row["bar"]) for row in decisions if row["bar"] >= begins and row["version"] != version]
    if version is None or not others or all(row["version"] != version for row in decisions):
        return begins, notes
    return others[-1] + 1, [f"only what version {version} decided; --since begins with another one's"]


def _records(client: Client, name: str, since: Millis, until: Millis | None) -> Records:
    return Records(
        decisions=client.decisions(name, since, until),
        orders=client.orders(name),
        fills=client.fills(name),
        payments=client.payments(name),
    )


def _markets(client: Client, name: str, symbols: Sequence[Symbol]) -> dict[Symbol, Market]:
    found = client.markets(name)
    missing = [symbol for symbol in symbols if symbol not in found]
    if missing:
        raise DataError(f"the venue of {name} does not trade {', '.join(missing)} any more; its steps are not known")
    return {symbol: _market(found[symbol]) for symbol in symbols}


def _market(row: Row) -> Market:
    names = ("tick", "lot", "cost_step", "min_quantity", "min_cost", "taker_fee", "maker_fee")
    steps: dict[str, Any] = {name: Decimal(row[name]) for name in names}
    return Market(Symbol(row["symbol"]), row["base"], row["quote"], **steps, fee_in=FeeIn(row["fee_in"]))


def _notes(about: About, facts: Facts, since: Millis, unrecorded: int) -> list[str]:
    notes = []
    if unrecorded:
        notes.append(f"{unrecorded} bars are not on record as live saw them; they count as unchanged since")
    if since > 0 and about.stateful and facts.start.targets:
        notes.append("the strategy keeps a state, and the re-run began with the one it declares, not with that of then")
    if any(facts.paid_in.values()):
        notes.append("capital was paid in or taken out meanwhile; the re-run got it at the same bars")
    if any(facts.by_hand.values()):
        notes.append("there were orders by hand, a flatten or a kill: what they made is `by_hand`")
    return notes
