"""A run that fails in papermill says where, is recorded, and can be run on by hand with what it was given."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from cashup.errors import WorkFailed
from cashup.markets.lake import Lake
from cashup.markets.synthetic import generate
from cashup.research.recording.execution import execute
from cashup.research.recording.rerun import restore_source
from cashup.research.recording.resume import TAG
from cashup.research.spec import RunSpec
from cashup.settings import load_settings
from cashup.strategies.notebook import notebook_hash

START = 1_735_689_600_000

CELLS = (
    'symbols = ["BTC/USDT"]\nlength = 5',
    """
import cashup as cu
open("neighbour.txt").close()
def target(bars, length):
    return (bars.close.pct_change(length) > 0).astype(float)
strategy = cu.Strategy(target, symbols=symbols, timeframe="1h", warmup=length, params={"length": length})
""",
    "run = cu.run(strategy)",
    "wanted = 1\n\ndef inner():\n    raise ValueError('no way')\n\ninner()",
    "print(run.metrics()['final_equity'], length, run.spec.fee)",
)


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "notebooks"
    folder.mkdir()
    monkeypatch.setenv("CASHUP_HOME", str(tmp_path / "home"))
    Lake(tmp_path / "home" / "lake").write("gate", "BTC/USDT", "1h", generate("BTC/USDT", "1h", START, 600, 1))
    (folder / "neighbour.txt").write_text("what the notebook reads lies beside it")
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    made.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(made, folder / "failing.ipynb")
    return folder / "failing.ipynb"


def test_it_says_where_and_runs_on_by_hand_with_what_it_was_given(notebook, tmp_path):
    spec = RunSpec(start="2025-01-05", capital=500.0, fee=0.002, run_id="r1")
    with pytest.raises(WorkFailed) as failed:
        execute(notebook, {"length": 7}, spec, load_settings())
    executed = tmp_path / "home" / "runs" / "r1" / "failing.ipynb"
    said = str(failed.value)
    assert "raised ValueError: no way in its cell [5], line 4;" in said
    assert "`cashup lab --run r1`" in said
    assert f"{executed}#papermill-error-cell" in said

    before = json.loads((executed.parent / "result.json").read_text())
    made = nbformat.read(executed, as_version=4)
    assert 'id="papermill-error-cell"' in "".join(cell.source for cell in made.cells)
    assert [cell.id for cell in made.cells].count("papermill-error-cell") == 1
    # By hand: a kernel that starts beside the executed notebook and knows nothing of the run.
    made.cells = [cell for cell in made.cells if "inner()" not in cell.source]
    NotebookClient(made, timeout=180, resources={"metadata": {"path": str(executed.parent)}}).execute()
    equity, length, fee = made.cells[-1].outputs[0].text.split()
    assert (float(equity), length, fee) == (before["metrics"]["final_equity"], "7", "0.002")
    assert json.loads((executed.parent / "result.json").read_text()) == before

    restore_source(executed, tmp_path / "source.ipynb")
    assert notebook_hash(tmp_path / "source.ipynb") == notebook_hash(notebook)
    assert TAG in [tag for cell in nbformat.read(executed, 4).cells for tag in cell.metadata.get("tags", [])]


def test_a_failed_run_is_recorded_with_its_reason(notebook):
    def cashup(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "cashup", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = cashup("backtest", str(notebook), "--json")
    assert (done.returncode, done.stdout) == (1, "")
    (run,) = json.loads(cashup("runs", "list", "--json").stdout)["runs"]
    assert run["kind"] == "backtest"
    assert list(run["metrics"]) == ["failed"]
    assert "raised ValueError: no way" in run["metrics"]["failed"]
    assert Path(run["output"]).is_file()
    shown = cashup("runs", "show", run["run_id"])
    assert "no way" in shown.stdout, shown.stderr
