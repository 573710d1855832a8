"""Live beside its re-run as a picture and a page: the waterfall, both equities, and every decision that differs."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cashup.research.live_report import LiveReport
from cashup.research.reporting.page import Section, page
from cashup.research.reporting.style import AMBER, BLUE, GREEN, GREY, RED, line, styled
from cashup.strategies.bars import to_index

SHOWN = 200
"""Decisions that the page lists at most."""

SAYS = {
    "data_revision": "bars that the venue changed after live had decided on them",
    "signal": "targets that the re-run does not repeat: chance, state, or other code",
    "missed_bar": "bars that live did not decide, or too late",
    "by_hand": "orders by hand, flattened or killed positions",
    "risk_blocked": "orders that limits, protections and halts stopped or made smaller",
    "rounding": "the venue's lots, ticks and minimums",
    "price": "fills at other prices than the next bar's open",
    "unfilled": "orders that the venue did not carry out, or only a part of",
    "fee": "fees beside the modelled ones, and in which currency they are taken",
    "unexplained": "what is left",
}
"""What each part stands for."""


def figure(report: LiveReport) -> go.Figure:
    """The waterfall from the re-run to live, and below it both equities over time."""
    made = make_subplots(rows=2, cols=1, vertical_spacing=0.16, row_heights=[0.5, 0.5])
    made.add_trace(_waterfall(report), row=1, col=1)
    rerun, live = _curves(report)
    made.add_trace(line(rerun, "Re-run", AMBER), row=2, col=1)
    made.add_trace(line(live, "Live", BLUE), row=2, col=1)
    low, high = _reach(report)
    made.update_yaxes(title_text=report.quote, range=[low, high], row=1, col=1)
    made.update_yaxes(title_text=f"Equity [{report.quote}]", row=2, col=1)
    return styled(made, f"{report.deployment}: live against its re-run", 640, hovermode="closest")


def save(report: LiveReport, path: Path) -> Path:
    """Write the report as one self-contained HTML page; the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}")
    partial.write_text(html(report), encoding="utf-8")
    return partial.replace(path)


def html(report: LiveReport) -> str:
    """The report as one page that needs nothing else."""
    facts, made = report.facts, report.made_of
    first, last = (f"{moment:%Y-%m-%d %H:%M}" for moment in to_index(np.array([facts.first.bar, facts.last.bar])))
    counts = report.counts()
    figures = {
        "capital": f"{report.capital:,.2f} {report.quote}",
        "re-run": f"{report.split.rerun:,.2f} {report.quote}",
        "live": f"{report.split.live:,.2f} {report.quote}",
        "difference": f"{report.split.total:+,.2f} {report.quote} ({float(report.drift):+.3%} of the capital)",
        "band": f"{float(report.band):.3%} of the capital: {'within' if report.in_band else 'OUTSIDE'}",
        "targets": f"{counts['same']:,} of {counts['compared']:,} are those of the re-run",
    }
    facts_of = {
        "notebook": f"{made.notebook} (version {made.version})" if made.version else made.notebook,
        "notebook hash": made.notebook_hash[:12],
        "parameters": ", ".join(f"{name}={value!r}" for name, value in made.params.items()) or "as they are in it",
        "bars": f"{made.bars}; {made.revised_bars} differ from what live saw, {made.unrecorded_bars} are not on record",
        "modelled fee and slippage": f"{report.case.fee} and {report.case.slippage}",
    }
    sections = [
        Section("Result", report.verdict(), figures=figures),
        Section(
            "From the re-run to live", "Each step takes one more thing from live.", _parts(report), None, figure(report)
        ),
        Section("Decisions", _told(report), table=_decisions(report)),
        Section("Made of", " ".join(f"{note[:1].upper()}{note[1:]}." for note in made.notes), figures=facts_of),
    ]
    return page(f"{report.deployment}: live against its re-run", f"{first} to {last} UTC", sections)


def _waterfall(report: LiveReport) -> go.Waterfall:
    split = report.split
    shown = {name: amount for name, amount in split.parts.items() if amount}
    names = ["re-run", *(name.replace("_", " ") for name in shown), "live"]
    amounts = [split.rerun, *shown.values(), split.live]
    texts = [f"{split.rerun:,.2f}", *(f"{amount:+,.2f}" for amount in shown.values()), f"{split.live:,.2f}"]
    return go.Waterfall(
        x=names,
        y=[float(amount) for amount in amounts],
        measure=["absolute", *["relative"] * len(shown), "total"],
        text=texts,
        textposition="outside",
        showlegend=False,
        cliponaxis=False,
        increasing={"marker": {"color": GREEN}},
        decreasing={"marker": {"color": RED}},
        totals={"marker": {"color": BLUE}},
        connector={"line": {"color": GREY, "width": 1}},
    )


def _reach(report: LiveReport) -> tuple[float, float]:
    """The axis: from a little below the lowest to a little above the highest step, so that parts can be seen."""
    steps = [report.split.rerun]
    for amount in report.split.parts.values():
        steps.append(steps[-1] + amount)
    low, high = float(min(steps)), float(max(steps))
    room = max((high - low) * 0.25, abs(high) * 1e-4, 1e-9)
    return low - room, high + room


def _curves(report: LiveReport) -> tuple[pd.Series[float], pd.Series[float]]:
    live = [(one.bar, one.equity) for one in report.facts.decided if one.equity is not None]
    return _series(report.split.curve), _series(live)


def _series(points: Any) -> pd.Series[float]:
    times = np.array([bar for bar, _ in points], dtype=np.int64)
    return pd.Series([float(worth) for _, worth in points], index=to_index(times))


def _parts(report: LiveReport) -> dict[str, str]:
    def told(name: str, amount: Decimal) -> str:
        return f"{amount:+,.2f} {report.quote}: {SAYS[name]}"

    return {name.replace("_", " "): told(name, amount) for name, amount in report.split.parts.items()}


def _told(report: LiveReport) -> str:
    noted = sum(not one.same or bool(one.cause) for one in report.choices)
    if not noted:
        return "Every target is that of the re-run, and was followed."
    return f"{noted:,} of {len(report.choices):,} targets differ or were not followed as meant" + (
        f"; the first {SHOWN} are here." if noted > SHOWN else "."
    )


def _decisions(report: LiveReport) -> pd.DataFrame | None:
    noted = [one for one in report.choices if not one.same or one.cause][:SHOWN]
    if not noted:
        return None
    rows = [
        (one.symbol, _shown(one.live), _shown(one.rerun), "yes" if one.same else "no", one.cause.replace("_", " "))
        for one in noted
    ]
    index = to_index(np.array([one.bar for one in noted], dtype=np.int64))
    return pd.DataFrame(rows, index=index, columns=["symbol", "live", "re-run", "same", "cause"])


def _shown(target: Decimal | None) -> str:
    return "-" if target is None else f"{target:f}"
