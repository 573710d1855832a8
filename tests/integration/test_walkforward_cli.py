"""`cashup walkforward` and `cashup validate`: what is printed, kept on disk, and counted in the registry."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from cashup.cli.database import with_database
from cashup.strategies.registry import notebook_name, trials_of_notebook, trials_of_run
from tests.integration.commands import Cashup, sentence

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "sma_cross.ipynb"
GRID = ("-g", "fast", "4:12:4", "-g", "slow", "12,30")
SETS = 5
"""Of six: the notebook refuses 12/12."""


@pytest.fixture
def market(cashup: Cashup) -> Cashup:
    assert cashup("data", "generate", "--symbol", "BTC/USDT", "--bars", 1_200).code == 0
    return cashup


def test_a_walk_is_printed_kept_and_every_trial_counted(market: Cashup) -> None:
    done = market("walkforward", NOTEBOOK, *GRID, "--train", "20d", "--test", "8d", "--json")
    assert done.code == 0, done.err
    walked = done.json
    folds = len(walked["folds"])
    assert folds == 4
    assert walked["sets"] == SETS
    assert walked["trials"] == SETS * folds
    assert [entry["params"] for entry in walked["invalid"]] == [{"fast": 12, "slow": 12}]
    assert walked["folds"][0]["fast"] in (4, 8, 12)
    assert walked["metrics"]["trades"] > 0

    run = market("runs", "show", walked["run_id"], "--json").json
    assert (run["kind"], run["data_version"]) == ("walkforward", walked["data_version"])
    assert run["metrics"]["total_return"] == walked["metrics"]["total_return"]
    counted = with_database(lambda database: trials_of_run(database, walked["run_id"]))
    assert len(counted) == SETS * folds
    assert len({json.dumps(dict(trial.params)) for trial in counted}) == SETS
    assert {trial.metrics["fold"] for trial in counted} == {1, 2, 3, 4}
    best = max((trial for trial in counted if trial.metrics["fold"] == 1), key=lambda trial: trial.metrics["sharpe"])
    assert best.params["fast"] == walked["folds"][0]["fast"]
    assert best.metrics["sharpe"] == pytest.approx(walked["folds"][0]["train_sharpe"])

    page = Path(walked["output"])
    assert "walk-forward" in page.read_text()
    assert json.loads(page.with_suffix(".json").read_text())["efficiency"] == walked["efficiency"]
    assert len(pd.read_parquet(page.with_name("trials.parquet"))) == SETS * folds


def test_a_person_sees_the_folds_and_the_verdict(market: Cashup) -> None:
    done = market("walkforward", NOTEBOOK, *GRID, "--scheme", "cpcv", "--folds", 4, "--embargo", "0.01")
    assert done.code == 0, done.err
    assert "5 sets on 6 folds; efficiency" in done.out
    assert "left out {'fast': 12, 'slow': 12}" in done.out
    assert "train sharpe" in done.out


def test_what_was_tried_deflates_what_is_validated(market: Cashup) -> None:
    words = ("validate", NOTEBOOK, "--samples", 200, "--histories", 5, "--json")
    first = market(*words)
    assert first.code == 0, first.err
    fresh = first.json
    assert (fresh["trials"], fresh["deflated"]["dsr"]) == (1, fresh["deflated"]["psr"])
    assert fresh["notes"] == []
    assert market("walkforward", NOTEBOOK, *GRID).code == 0
    tried = market(*words).json
    assert (
        tried["trials"]
        == SETS
        == len(with_database(lambda database: trials_of_notebook(database, notebook_name(NOTEBOOK))))
    )
    assert tried["deflated"]["dsr"] < fresh["deflated"]["dsr"]
    same = ("significance", "shuffled", "resampled", "returns", "histories")
    assert {name: tried[name] for name in same} == {name: fresh[name] for name in same}, "the seed decides"
    assert "Signal" in Path(tried["output"]).read_text()
    said = market(*words[:-1], "--seed", 3)
    assert "deflated Sharpe (5 trials)" in said.out
    assert "block bootstrap of bars" in said.out


def test_a_test_that_cannot_be_made_is_named(market: Cashup, tmp_path: Path) -> None:
    flat = tmp_path / "flat.ipynb"
    cells = json.loads(NOTEBOOK.read_text())
    for cell in cells["cells"]:
        if cell["cell_type"] == "code":
            cell["source"] = "".join(cell["source"]).replace(".astype(float)", ".astype(float) * 0")
    flat.write_text(json.dumps(cells))
    done = market("validate", flat, "--samples", 50, "--histories", 2, "--json")
    assert done.code == 0, done.err
    assert done.json["deflated"] is None
    assert any("never change" in note for note in done.json["notes"])
    assert done.json["significance"]["p_value"] == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "name what to choose from"),
        (("-g", "fats", "1,2"), "did you mean 'fast'"),
        (("-g", "fast", "a,b"), "is a whole number"),
        (("-g", "fast", "1..9"), "write low:high:step"),
        (("-g", "fast", "9:1:1"), "from low to high"),
        (("-g", "fast", "4,5", "-p", "fast", "3"), "either fixed or chosen"),
        (("-g", "fast", "4,5", "--scheme", "loo"), "there is no scheme"),
        (("-g", "fast", "4,5", "--objective", "luck"), "there is no objective"),
        (("-g", "fast", "4,5", "--train", "900d"), "too few"),
    ],
)
def test_wrong_usage_is_one_sentence(market: Cashup, words: tuple[str, ...], message: str) -> None:
    done = market("walkforward", NOTEBOOK, *words)
    assert done.code == 2
    assert message in sentence(done)
