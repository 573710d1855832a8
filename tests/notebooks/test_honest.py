"""Every notebook is honest, and the code that trades makes the orders of its backtest."""

from __future__ import annotations

from pathlib import Path

import pytest

from cashup.markets.lake import Lake
from cashup.research.checks.run import check
from cashup.research.history import load_bars
from cashup.research.replay import replay_report
from cashup.research.spec import RunSpec
from cashup.settings import load_settings
from cashup.strategies.notebook import load_strategy
from tests.notebooks.market import fill_lake

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
SPEC = RunSpec(start="2024-05-01")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose lake has the notebooks' bars."""
    home = tmp_path_factory.mktemp("honest")
    fill_lake(home / "lake")
    return home


@pytest.fixture
def lake(home: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """That lake, to which the settings lead too."""
    monkeypatch.setenv("CASHUP_HOME", str(home))
    return Lake(load_settings().lake_path)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_does_not_look_ahead_and_its_warm_up_is_long_enough(notebook: Path, lake: Lake) -> None:
    bars = load_bars(lake, load_strategy(notebook), SPEC)
    report = check(notebook, bars, only=["lookahead", "warmup", "secrets"])
    assert report.passed, repr(report)
    assert [one.name for one in report.checks] == ["lookahead", "warmup", "secrets"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_replay_of_a_notebook_makes_the_orders_of_its_backtest(notebook: Path, lake: Lake) -> None:
    report = replay_report(load_strategy(notebook), lake, SPEC, decisions="frame")
    assert report.parity.equal, report.report()
    assert report.parity.matched > 3


def test_asked_bar_by_bar_it_is_the_same(lake: Lake) -> None:
    for name in ("funding_carry", "donchian_breakout"):
        (notebook,) = [path for path in NOTEBOOKS if path.stem == name]
        report = replay_report(load_strategy(notebook), lake, SPEC, decisions="window")
        assert report.parity.equal, report.report()
