"""`cashup init` and `cashup new strategy`: what they make runs as it is, and nothing is overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cashup.strategies.notebook import load_strategy
from cashup.strategies.scaffold import templates
from cashup.workers.deployment import read_folder
from cashup.workers.schema import FILE, LINE, schema_text
from tests.integration.commands import Cashup, sentence


def test_a_project_has_a_strategy_that_runs(cashup: Cashup, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    assert cashup("init", folder).code == 0
    assert {path.name for path in folder.iterdir()} >= {"notebooks", "live", "cashup.toml", "README.md", ".gitignore"}
    (spec,) = read_folder(folder / "live").values()
    assert (spec["account"], spec["mode"], spec["symbols"]) == ("paper-first", "paper", ["BTC/USDT"])
    assert (folder / "live" / "first.toml").read_text().splitlines()[0] == LINE
    assert (folder / "live" / FILE).read_text() == schema_text()
    assert cashup("data", "generate", "--symbol", "BTC/USDT", "--bars", 300).code == 0
    done = cashup("backtest", folder / "notebooks" / "first.ipynb", "--json")
    assert done.code == 0, done.err
    assert done.json["trades"] > 0

    (folder / "README.md").write_text("mine")
    again = cashup("init", folder)
    assert again.code == 1
    assert "is a project already" in sentence(again)
    assert (folder / "README.md").read_text() == "mine"


@pytest.mark.parametrize("template", templates())
def test_a_template_gives_a_notebook_with_its_name_and_a_strategy(
    cashup: Cashup, tmp_path: Path, template: str
) -> None:
    done = cashup("new", "strategy", "night_shift", "--template", template, "--folder", tmp_path)
    assert done.code == 0, done.err
    path = tmp_path / "night_shift.ipynb"
    assert json.loads(path.read_text())["cells"][0]["source"][0] == "# Night shift\n"
    assert load_strategy(path).warmup > 0
    before = path.read_bytes()
    again = cashup("new", "strategy", "night_shift", "--folder", tmp_path)
    assert again.code == 1
    assert "is there already, and is not overwritten" in sentence(again)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("../escape",), "is not a name for a notebook"),
        (("x", "--template", "targt"), "there is no template 'targt'; did you mean 'target'?"),
    ],
)
def test_what_cannot_be_made_is_refused(cashup: Cashup, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = cashup("new", "strategy", *words, "--folder", tmp_path)
    assert done.code == 2
    assert said in sentence(done)
    assert not list(tmp_path.glob("*.ipynb"))
