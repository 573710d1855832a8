"""The demo is the main job from end to end, and its own proof."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

pytestmark = pytest.mark.slow

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_the_demo_goes_all_the_way_and_live_is_what_was_promised(home: Path, cashup: Command) -> None:
    done = cashup(home, "demo", "--bars", "150", "--home", str(home), "--json", timeout=600)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert {"backtest", "replay", "live", "parity", "artefacts"} <= set(report)
    assert report["parity"]["backtest"]["equal"]
    assert report["parity"]["live"]["equal"]
    assert report["live"]["orders"] == report["replay"]["venue"]["orders"] > 0
    assert report["live"]["final_equity"] == report["replay"]["venue"]["exact_final_equity"]
    assert report["live"]["balances"] == {
        asset: amount for asset, amount in report["replay"]["venue"]["balances"].items() if float(amount)
    }
    for path in report["artefacts"].values():
        assert Path(path).stat().st_size > 100, path
    assert "<title>" in Path(report["artefacts"]["tear_sheet"]).read_text()
    executed = nbformat.read(report["artefacts"]["live_notebook"], as_version=4)
    shown = [output for cell in executed.cells for output in cell.get("outputs", [])]
    assert any("Total Return [%]" in str(output.get("data", {})) for output in shown), "no live tear sheet"


def test_a_folder_with_something_else_in_it_is_left_alone(home: Path, cashup: Command) -> None:
    (home / "thesis.txt").write_text("my only copy")
    done = cashup(home, "demo", "--home", str(home))
    assert done.returncode == 2
    assert "not empty" in done.stderr
    assert (home / "thesis.txt").read_text() == "my only copy"
