"""`cashup promote`: the gate on a real notebook, its figures, and the version that an open gate stores."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest

from tests.integration.commands import Cashup, sentence

ROOT = Path(__file__).parents[2]


@pytest.fixture
def notebook(cashup: Cashup, tmp_path: Path) -> Path:
    assert cashup("data", "generate", "--symbol", "BTC/USDT", "--bars", 1_500).code == 0
    return Path(shutil.copy(ROOT / "notebooks" / "sma_cross.ipynb", tmp_path))


def test_the_gate_says_what_it_found_and_stays_shut_without_a_walk_forward(cashup: Cashup, notebook: Path) -> None:
    done = cashup("promote", notebook, "--dry-run", "--json")
    assert done.code == 1, done.err
    criteria = {one["name"]: one for one in done.json["criteria"]}
    assert list(criteria)[:3] == ["checks", "replay", "min_trades"]
    assert criteria["checks"]["passed"]
    assert criteria["replay"] == criteria["replay"] | {"value": 0, "passed": True}
    assert criteria["min_walkforward_sharpe"]["value"] is None
    assert "`cashup walkforward` makes one" in criteria["min_walkforward_sharpe"]["message"]
    assert done.json["passed"] is False
    assert done.json["version"] is None


def test_an_open_gate_stores_one_version_however_often(cashup: Cashup, home: Path, notebook: Path) -> None:
    gate = notebook.with_name("gate.toml")
    names = ("min_twice_costs_return", "min_deflated_sharpe", "min_walkforward_sharpe", "min_walkforward_efficiency")
    gate.write_text("min_trades = 1\nmax_drawdown = 1.0\n" + "".join(f"{name} = false\n" for name in names))
    tried = cashup("promote", notebook, "--gate", gate, "--dry-run", "--json")
    assert (tried.code, tried.json["version"]) == (0, None), tried.err
    assert not (home / "versions").exists()

    first = cashup("promote", notebook, "--gate", gate, "--json").json["version"]
    assert cashup("promote", notebook, "--gate", gate, "--json").json["version"] == first
    folder = home / "versions" / first
    assert (folder / "sma_cross.ipynb").read_bytes() == notebook.read_bytes()
    about = json.loads((folder / "version.json").read_text())
    assert about["gate"]["passed"]
    assert about["params"] == {}
    assert {one["name"]: one["verdict"] for one in about["checks"]["checks"]}["lookahead"] == "passed"
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o444}
    shown = cashup("versions", "show", first, "--json").json
    assert (shown["version"], shown["kind"], shown["content_hash"]) == (first, "promoted", about["content_hash"])
    assert "passed      lookahead:" in cashup("versions", "show", first).out

    other = cashup("promote", notebook, "-p", "fast", 5, "--gate", gate, "--json").json["version"]
    assert other != first
    assert {path.name for path in (home / "versions").iterdir()} == {first, other}
    (folder / "version.json").chmod(0o644)
    (folder / "version.json").write_text(json.dumps(about | {"gate": {"passed": True, "criteria": []}}))
    refused = cashup("versions", "show", first)
    assert (refused.code, f"version {first} is not what was frozen" in sentence(refused)) == (1, True)
    kinds = {row["version"]: row["kind"] for row in cashup("versions", "list", "--json").json["versions"]}
    assert kinds == {other: "promoted", first: "TAMPERED"}
    assert "TAMPERED" in cashup("versions", "list").out


def test_a_gate_that_is_none_is_refused(cashup: Cashup, notebook: Path) -> None:
    gate = notebook.with_name("gate.toml")
    gate.write_text("min_trads = 1\n")
    done = cashup("promote", notebook, "--gate", gate)
    assert done.code == 2
    assert "did you mean 'min_trades'?" in sentence(done)
    assert "min_trades = 30" in cashup("promote", notebook, "--show-gate").out
