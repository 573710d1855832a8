"""`cashup data`, `cashup backtest` and `cashup runs`, as a person calls them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from cashup.strategies.notebook import notebook_hash
from tests.integration.commands import process, sentence

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
REAL = ROOT.parent / "shared" / "data"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the real bars are not there: ../shared/data is missing")


def notebook(path: Path, *cells: str) -> Path:
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    made.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(made, path)
    return path


STRATEGY = """
import cashup as cu
def target(bars, length):
    {body}
strategy = cu.Strategy(target, symbols=symbols, timeframe="1h", warmup=length, params={{"length": length}})
"""


def strategy_notebook(path: Path, body: str) -> Path:
    cells = ('symbols = ["BTC/USDT"]\nlength = 5', STRATEGY.format(body=body), "run = cu.run(strategy)", "run.stats()")
    return notebook(path, *cells)


def test_bars_are_made_listed_and_checked(cashup):
    assert cashup("data", "list", "--json").json == {"series": []}
    made = cashup("data", "generate", "--symbol", "BTC/USDT", "--bars", 100, "--json").json["series"][0]
    listed = cashup("data", "list", "--json").json["series"]
    assert listed == [made]
    assert made["bars"] == 100
    assert made["first"] == "2024-01-01T00:00:00Z"
    checked = cashup("data", "check", "--json")
    assert (checked.code, checked.json["sound"]) == (0, True)
    assert "BTC/USDT" in cashup("data", "list").out
    assert "sound" in cashup("data", "check").out


@real
@pytest.mark.real
def test_real_files_are_imported_and_their_gaps_found(cashup):
    for file, symbol, timeframe in (
        ("ETHUSDT_1h.csv", "ETH/USDT", "1h"),
        ("BTC_USDT_1h.csv", "BTC/USDT", "1h"),
        ("ETH_BTC-5m.feather", "ETH/BTC", "5m"),
    ):
        done = cashup("data", "import", REAL / file, "--exchange", "gate", "--symbol", symbol, "--timeframe", timeframe)
        assert done.code == 0
    checked = cashup("data", "check", "--json").json
    assert checked["sound"]
    assert {s["symbol"]: len(s["gaps"]) for s in checked["series"]} == {"ETH/USDT": 0, "BTC/USDT": 3, "ETH/BTC": 0}


def test_a_truncated_file_changes_nothing(cashup, tmp_path):
    text = "timestamp,open,high,low,close,volume\n"
    text += "".join(f"{1735689600000 + n * 3600000},10.0,12.0,9.0,11.0,5.25\n" for n in range(20))
    (tmp_path / "whole.csv").write_text(text)
    (tmp_path / "cut.csv").write_text(text[:-9])
    arguments = ("--exchange", "gate", "--symbol", "BTC/USDT", "--timeframe", "1h")
    cut = cashup("data", "import", tmp_path / "cut.csv", *arguments)
    assert cut.code == 2
    assert "may be cut off" in sentence(cut)
    assert cashup("data", "list", "--json").json == {"series": []}
    assert cashup("data", "import", tmp_path / "whole.csv", *arguments, "--json").json["bars"] == 20
    before = cashup("data", "list", "--json").json
    assert cashup("data", "import", tmp_path / "cut.csv", *arguments).code == 2
    assert cashup("data", "list", "--json").json == before


def test_a_symbol_spelled_otherwise_gets_a_hint(cashup, tmp_path):
    done = cashup("data", "generate", "--symbol", "BTCUSDT")
    assert done.code == 2
    assert "did you mean BTC/USDT?" in sentence(done)


def test_check_exits_1_when_the_stored_bars_are_not_the_ones_that_were_written(cashup, home):
    cashup("data", "generate", "--symbol", "BTC/USDT", "--bars", 50)
    cashup("data", "generate", "--symbol", "ETH/USDT", "--bars", 50)
    good, other = (next((home / "lake" / "gate" / name).rglob("*.parquet")) for name in ("BTC_USDT", "ETH_USDT"))
    good.write_bytes(other.read_bytes())
    done = cashup("data", "check", "--symbol", "BTC/USDT", "--json")
    assert done.code == 1
    assert [problem["code"] for problem in done.json["series"][0]["problems"]] == ["version"]


def test_a_backtest_is_executed_reported_and_recorded(home):
    assert process("data", "generate", "--symbol", "BTC/USDT", "--bars", 3000).code == 0
    path = NOTEBOOKS / "sma_cross.ipynb"
    arguments = ("--start", "2024-02-01", "--end", "2024-04-01", "--capital", 500)
    done = process("backtest", path, "-p", "fast", 5, "-p", "symbols", "[BTC/USDT]", *arguments, "--json")
    assert done.code == 0, done.err
    report = done.json
    assert " ".join(report) == (
        "total_return sharpe max_drawdown trades final_equity notebook_hash data_version run_id output"
    )
    assert report["notebook_hash"] == notebook_hash(path)
    assert report["final_equity"] == pytest.approx(500 * (1 + report["total_return"]))
    assert report["trades"] > 10

    executed = nbformat.read(report["output"], as_version=4)
    assert all(cell.execution_count for cell in executed.cells if cell.cell_type == "code")
    assert "fast = 5" in next(c.source for c in executed.cells if "injected-parameters" in c.metadata.get("tags", []))
    assert Path(report["output"]).is_relative_to(home / "runs")

    listed = process("runs", "list", "--json").json["runs"]
    assert [run["run_id"] for run in listed] == [report["run_id"]]
    shown = process("runs", "show", report["run_id"][-6:], "--json").json
    assert shown == listed[0]
    assert shown["params"] == {"fast": 5, "symbols": ["BTC/USDT"]}
    assert shown["spec"]["capital"] == 500
    assert shown["metrics"]["final_equity"] == report["final_equity"]
    assert shown["data_version"] == report["data_version"]
    assert len(shown["lock_hash"]) == 64

    missing = process("runs", "show", "nothing")
    assert missing.code == 1
    assert "there is no run 'nothing'" in sentence(missing)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("-p", "fats", "5"), 2, "no parameter 'fats'; did you mean 'fast'?"),
        (("-p", "fast", "five"), 2, "is a whole number (default 10), but 'five' is text"),
        (("-p", "fast"), 2, "takes a name and a value"),
        (("-p", "fast", "[1"), 2, "is not YAML"),
        (("--start", "soon"), 2, "is not a time"),
        (("--fee", "2"), 2, "the fee is a ratio"),
    ],
)
def test_wrong_usage_is_refused_before_anything_runs(cashup, home, words, code, said):
    done = cashup("backtest", NOTEBOOKS / "sma_cross.ipynb", *words)
    assert done.code == code
    assert said in sentence(done)
    assert not (home / "runs").exists()


@pytest.mark.parametrize(
    ("words", "body", "code", "said"),
    [
        ((), "return bars.close * 0", 2, "the lake has no 1h bars of BTC/USDT on gate"),
        (("-p", "symbols", "[BTCUSDT]"), "return bars.close * 0", 2, "did you mean BTC/USDT?"),
        (("--exchange", "made"), "return bars.close.iloc[1:]", 2, "returned a frame of shape"),
        (("--exchange", "made"), "return bars.close * float('nan')", 2, "returned nothing but NaN"),
        (
            ("--exchange", "made", "--start", "2024-01-01"),
            "return bars.close * 0",
            2,
            "needs 5 bars of BTC/USDT 1h on made before 2024-01-01T00:00:00Z, and the lake has 0",
        ),
        (("--exchange", "made"), "raise KeyError('colour')", 1, "raised KeyError: 'colour' in its cell [3]"),
    ],
)
def test_a_run_that_fails_says_why(cashup, home, tmp_path, words, body, code, said):
    cashup("data", "generate", "--exchange", "made", "--symbol", "BTC/USDT", "--bars", 100)
    done = cashup("backtest", strategy_notebook(tmp_path / "x.ipynb", body), *words)
    assert done.code == code, done.err
    assert said in sentence(done)
    left = list((home / "runs").iterdir())
    assert len(left) == (1 if code == 1 else 0), "a folder stays only where there is something to look at"
    recorded = cashup("runs", "list", "--json").json["runs"]
    assert [said in run["metrics"]["failed"] for run in recorded] == ([True] if code == 1 else [])


def test_a_notebook_without_a_run_is_refused(cashup, tmp_path):
    done = cashup("backtest", notebook(tmp_path / "x.ipynb", "a = 1", "a + 1"))
    assert done.code == 2
    assert "never calls cu.run" in sentence(done)


def test_the_lake_is_found_from_the_notebooks_folder(tmp_path):
    (tmp_path / "notebooks").mkdir()
    shutil.copy(NOTEBOOKS / "sma_cross.ipynb", tmp_path / "notebooks")
    env = {name: value for name, value in os.environ.items() if not name.startswith("CASHUP_") or name == "CASHUP_WARM"}
    (tmp_path / "cashup.toml").write_text('home = "state"\n')
    look = "from cashup.settings import load_settings; print(load_settings().lake_path)"
    for folder in (tmp_path, tmp_path / "notebooks"):
        done = subprocess.run(
            [sys.executable, "-c", look], cwd=folder, env=env, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == str(tmp_path / "state" / "lake")
