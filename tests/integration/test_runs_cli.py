"""`cashup runs`: the registry as a person uses it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.integration.commands import Cashup, sentence

ROOT = Path(__file__).parents[2]


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """A working copy of a notebook that a test may change."""
    return Path(shutil.copy(ROOT / "notebooks" / "sma_cross.ipynb", tmp_path))


def backtest(cashup: Cashup, notebook: Path, *words: object) -> dict:
    done = cashup("backtest", notebook, *words, "--json")
    assert done.code == 0, done.err
    return done.json


def bars(cashup: Cashup, count: int = 400) -> None:
    assert cashup("data", "generate", "--symbol", "BTC/USDT", "--bars", count).code == 0


def test_runs_are_listed_by_notebook_kind_and_figure(cashup, notebook):
    bars(cashup)
    slow, fast = backtest(cashup, notebook), backtest(cashup, notebook, "-p", "fast", 3)
    best = max((slow, fast), key=lambda run: run["total_return"])
    listed = cashup("runs", "list", "--sort", "total_return", "--json").json["runs"]
    assert listed[0]["run_id"] == best["run_id"]
    assert [run["run_id"] for run in cashup("runs", "list", "--json").json["runs"]] == [fast["run_id"], slow["run_id"]]
    smallest = cashup("runs", "list", "--sort", "max_drawdown", "--limit", 1, "--json").json["runs"]
    assert smallest[0]["metrics"]["max_drawdown"] == min(slow["max_drawdown"], fast["max_drawdown"])
    assert cashup("runs", "list", "--kind", "sweep", "--json").json == {"runs": []}
    assert cashup("runs", "list", "--notebook", "momentum", "--json").json == {"runs": []}
    assert len(cashup("runs", "list", "--sort", "no_such_figure", "--json").json["runs"]) == 2


def test_two_runs_are_compared_what_differs_first(cashup, notebook, tmp_path):
    bars(cashup)
    one, other = backtest(cashup, notebook), backtest(cashup, notebook, "-p", "fast", 3)
    compared = cashup("runs", "compare", one["run_id"], other["run_id"], "--json").json
    assert compared["differences"] == {"parameters": ["defaults", "fast=3"]}
    assert compared["metrics"]["total_return"] == [one["total_return"], other["total_return"]]
    page = tmp_path / "overlay.html"
    assert cashup("runs", "compare", one["run_id"], other["run_id"], "--html", page).code == 0
    assert one["run_id"] in page.read_text()
    assert other["run_id"] in page.read_text()
    alone = cashup("runs", "compare", one["run_id"], one["run_id"])
    assert alone.code == 2
    assert "takes two runs or more" in sentence(alone)


def test_a_run_shows_its_tear_sheet_as_a_page_and_as_a_picture(cashup, notebook, tmp_path):
    bars(cashup)
    run = backtest(cashup, notebook)
    page, picture = tmp_path / "sheet.html", tmp_path / "sheet.png"
    assert cashup("runs", "show", run["run_id"], "--html", page, "--png", picture).code == 0
    assert page.read_text().startswith("<!doctype html>")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_run_comes_again_to_the_last_digit_also_after_the_data_grew_and_the_notebook_changed(cashup, notebook):
    bars(cashup)
    run = backtest(cashup, notebook, "-p", "fast", 7, "--fee", 0.002)
    again = cashup("runs", "rerun", run["run_id"], "--json")
    assert again.code == 0, again.err
    assert again.json["equal"]
    assert again.json["again"] != run["run_id"]

    bars(cashup, 500)
    grown = cashup("runs", "rerun", run["run_id"], "--json")
    assert (grown.code, grown.json["causes"]) == (0, [])

    text = notebook.read_text()
    notebook.write_text(text.replace("average(fast)", "average(slow)"))
    changed = cashup("runs", "rerun", run["run_id"], "--json")
    assert changed.code == 0, changed.err
    assert changed.json["causes"] == [
        "sma_cross.ipynb has changed since; its source was taken from the executed notebook"
    ]
    assert sorted(path.name for path in notebook.parent.glob("*.ipynb")) == ["sma_cross.ipynb"]


def test_a_run_that_cannot_come_again_says_why(cashup, notebook, tmp_path):
    bars(cashup)
    source = notebook.read_text()
    notebook.write_text(
        source.replace("def target(", 'import random\\n",\n    "def target(').replace(
            ".astype(float)", ".astype(float) * random.random()"
        )
    )
    run = backtest(cashup, notebook)
    again = cashup("runs", "rerun", run["run_id"])
    assert again.code == 1
    assert "NOT EQUAL" in again.out
    assert "it does not repeat itself" in again.out

    Path(run["output"]).unlink()
    notebook.unlink()
    lost = cashup("runs", "rerun", run["run_id"])
    assert lost.code == 1
    assert "cannot be repeated" in sentence(lost)


def test_a_run_on_a_perpetual_comes_again_on_its_own_funding_or_says_why(cashup, notebook, tmp_path):
    """Funding is corrected in between; without a version that covers it the figures would differ without a cause."""
    perpetual = ("--symbol", "BTC/USDT:USDT", "--bars", 400)
    assert cashup("data", "generate", *perpetual, "--funding").code == 0
    notebook.write_text(notebook.read_text().replace("BTC/USDT", "BTC/USDT:USDT"))
    run = backtest(cashup, notebook)
    assert cashup("data", "generate", *perpetual, "--funding", "--seed", 8).code == 0
    again = cashup("runs", "rerun", run["run_id"], "--json")
    assert (again.code, again.json["causes"], again.json["differences"]) == (0, [], {}), again.err
    page = tmp_path / "sheet.html"
    assert cashup("runs", "show", run["run_id"], "--html", page).code == 0

    assert cashup("data", "prune", "--forget-runs").code == 0
    gone = cashup("runs", "rerun", run["run_id"])
    assert gone.code == 2
    assert "data version" in sentence(gone)
