"""`import cashup` offers what a notebook needs, and nothing else."""

from __future__ import annotations

import cashup

NOTEBOOK_WORDS = {
    "Bars",
    "RollingModel",
    "Strategy",
    "sweep",
    "Universe",
    "check",
    "gate",
    "indicator",
    "run",
    "Backtest",
    "LiveRun",
    "validate",
    "walkforward",
}


def test_the_names_are_exactly_what_notebooks_need() -> None:
    assert set(cashup.__all__) == NOTEBOOK_WORDS


def test_every_name_is_there_and_says_what_it_is() -> None:
    for name in cashup.__all__:
        assert getattr(cashup, name).__doc__, f"cashup.{name} has no docstring"


def test_completion_offers_the_same_names() -> None:
    assert {name for name in dir(cashup) if not name.startswith("_")} >= NOTEBOOK_WORDS
