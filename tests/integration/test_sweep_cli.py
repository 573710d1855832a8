"""`cashup sweep` as a person calls it, and what the registry knows afterwards."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import cashup as cu
from cashup.research.sweeping.condition import Condition
from cashup.storage.database import create_engine
from cashup.strategies.registry import find_run, trials_of_run
from tests.integration.commands import process

SMA_CROSS = Path(__file__).parents[2] / "notebooks" / "sma_cross.ipynb"


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    return Path(shutil.copy(SMA_CROSS, tmp_path / "sma_cross.ipynb"))


@pytest.fixture
def bars(cashup):
    assert cashup("data", "generate", "--symbol", "BTC/USDT", "--start", "2024-11-01", "--bars", 2000).code == 0


def registered(database_url: str, run_id: str):
    async def read():
        database = create_engine(database_url, application="test")
        try:
            return await trials_of_run(database, run_id), await find_run(database, run_id)
        finally:
            await database.dispose()

    return asyncio.run(read())


def test_a_sweep_ranks_counts_and_leaves_its_files(cashup, bars, home, notebook, database_url):
    words = ("-g", "fast", "5:20:5", "-g", "slow", "20:40:10", "--start", "2024-12-01", "--top", 3, "--tearsheet")
    done = cashup("sweep", notebook, *words, "--json")
    assert done.code == 0, done.err
    assert (done.json["trials"], done.json["ok"], done.json["invalid"]) == (12, 11, 1)
    assert len(done.json["top"]) == 3
    best = done.json["best"]
    trials, run = registered(database_url, done.json["run_id"])
    assert [trial.number for trial in trials] == list(range(12))
    assert trials[best["trial"]].params == best["params"]
    assert (run.kind, run.metrics["trials"], run.metrics["sharpe"]) == ("sweep", 12, best["metrics"]["sharpe"])
    folder = home / "runs" / done.json["run_id"]
    assert {"trials.parquet", "sweep.json", "heatmap.html", "tearsheet.html"} <= {
        path.name for path in folder.iterdir()
    }
    assert len(pd.read_parquet(folder / "trials.parquet")) == 12
    same = cashup("backtest", notebook, "--start", "2024-12-01", "--json", *_params(best["params"]))
    assert same.json["total_return"] == pytest.approx(best["metrics"]["total_return"], abs=1e-9)
    assert same.json["trades"] == best["metrics"]["trades"]


def _params(params):
    return [word for name, value in params.items() for word in ("-p", name, value)]


def test_the_table_names_the_trials_and_the_luck(cashup, bars, notebook):
    done = cashup("sweep", notebook, "-g", "fast", "5,10", "-g", "slow", "20,30", "-p", "timeframe", "1h")
    assert done.code == 0, done.err
    assert "4 trials: 4 ok" in done.out
    assert "deflated Sharpe" in done.out
    assert done.out.splitlines()[0].split()[:3] == ["trial", "fast", "slow"]


def test_several_objectives_show_the_front(cashup, bars, notebook):
    objectives = ("--objective", "total_return", "--objective", "max_drawdown")
    words = ("-g", "fast", "3..15", "-g", "slow", "16..60", "--method", "nsga2", "--trials", 24)
    done = cashup("sweep", notebook, *words, *objectives, "--json")
    assert done.code == 0, done.err
    front = [(one["metrics"]["total_return"], -one["metrics"]["max_drawdown"]) for one in done.json["front"]]
    assert all(not (a[0] >= b[0] and a[1] >= b[1] and a != b) for a in front for b in front)


def test_nothing_but_failures_is_a_failure(cashup, bars, notebook):
    cell = "(average(fast).mean() > average(slow).mean())"
    notebook.write_text(notebook.read_text().replace(cell, f"(1 / 0 * {cell[1:-1]})"))
    done = cashup("sweep", notebook, "-g", "fast", "5,10", "--json")
    assert done.code == 1
    assert (done.json["failed"], done.json["best"]) == (2, None)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "at least one parameter"),
        (("-g", "fsat", "1:5"), "did you mean 'fast'"),
        (("-g", "fast"), "-g takes a name and a value"),
        (("-g", "fast", "5:1:1"), "range of fast"),
        (("-g", "fast", "1:5", "--scheduler", "cloud"), "no scheduler 'cloud'"),
        (("--resume", "nothing"), "no sweep 'nothing'"),
    ],
)
def test_mistakes_are_one_sentence(cashup, bars, notebook, words, sentence):
    done = cashup("sweep", notebook, *words)
    assert done.code == (1 if "--resume" in words else 2)
    assert sentence in done.err
    assert done.err.count("\n") == 1


def test_ctrl_c_leaves_a_sweep_that_goes_on(cashup, bars, home, notebook, database_url):
    words = ["sweep", str(notebook), "-g", "fast", "2:60:1", "-g", "slow", "61:300:1", "--workers", "2"]
    command = [sys.executable, "-m", "cashup", *words]
    started = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests that run in the background ignore it
    )
    lines = home / "runs"
    while not any(path.stat().st_size for path in lines.glob("*/trials.jsonl")):
        assert started.poll() is None, started.stderr.read()
    os.killpg(started.pid, signal.SIGINT)
    _, said = started.communicate(timeout=120)
    assert started.returncode == 130, said
    run_id = said.split("--resume ")[1].split()[0]
    kept = sum(1 for _ in (lines / run_id / "trials.jsonl").open())
    assert f"stopped; {kept} trials are kept" in said
    trials = asyncio.run(_counted(database_url, run_id))
    assert len(trials) == kept < 59 * 240
    assert Condition("fast < slow").holds(trials[0].params)


async def _counted(database_url: str, run_id: str):
    database = create_engine(database_url, application="test")
    try:
        return await trials_of_run(database, run_id)
    finally:
        await database.dispose()


def test_a_sweep_in_a_notebook_is_counted_too(cashup, bars, database_url):
    def target(bars, length):
        return (bars.close > bars.close.rolling(length).mean()).astype(float)

    strategy = cu.Strategy(target, symbols=["BTC/USDT"], timeframe="1h", warmup=50, params={"length": 10})
    found = cu.sweep(strategy, {"length": range(5, 50, 5)}, objective="total_return", workers=2)
    trials, run = registered(database_url, found.run_id)
    assert len(trials) == len(found.frame) == 9
    assert (run.notebook, run.params) == ("target", found.best.params)


@pytest.mark.slow
def test_dask_gives_what_processes_give(bars, notebook):
    words = ("-g", "fast", "5:20:5", "-g", "slow", "20:40:10", "--workers", "2", "--json")
    one, two = (process("sweep", notebook, *words, "--scheduler", name) for name in ("processes", "dask"))
    assert two.code == 0, two.err
    assert one.json["top"] == two.json["top"]
    assert one.json["invalid"] == two.json["invalid"] == 1
