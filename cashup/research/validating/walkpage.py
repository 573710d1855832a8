"""The report of a walk-forward as one HTML file."""

from __future__ import annotations

from cashup.research.reporting.page import Section, page
from cashup.research.validating.walkforward import WalkForward

HEADLINES = (
    "Total Return [%]",
    "Benchmark Return [%]",
    "CAGR [%]",
    "Sharpe Ratio",
    "Max Drawdown [%]",
    "Total Trades",
    "Total Fees Paid",
    "End Value",
)


def walk_page(made: WalkForward, title: str) -> str:
    """The account of the tests, the folds, what was chosen, and how likely the choice was luck."""
    figures = {label: made.stats()[label] for label in HEADLINES} | {"Efficiency": made.efficiency}
    sections = [
        Section("The tests as one account", made.verdict, figures=figures, picture=made.plot()),
        Section("Folds", f"Chosen by {made.walk.objective} on the train bars alone.", table=made.folds),
        Section("Stability", "What was chosen, how often, and how far it scattered.", table=made.stability),
    ]
    if made.overfitting is not None:
        text = "How often the best set of one half of the time is below the median in the other half."
        sections.append(Section("Overfitting", text, picture=made.overfitting.plot()))
    if made.invalid:
        refused = "; ".join(f"{dict(params)}: {reason}" for params, reason in made.invalid)
        sections.append(Section("Left out", refused))
    first, last = made.equity.index[0], made.equity.index[-1]
    return page(title, f"{first:%Y-%m-%d} to {last:%Y-%m-%d} UTC", sections)
