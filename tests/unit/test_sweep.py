"""The sweep: ranges, conditions, searches, and trials that say what a backtest would."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cashup.errors import Conflict, NotebookError, NotFound, UsageError
from cashup.markets.lake import Lake
from cashup.markets.synthetic import store_generated
from cashup.research.backtest import run_backtest
from cashup.research.spec import RunSpec
from cashup.research.sweeping import sweep as sweeping
from cashup.research.sweeping.condition import Condition
from cashup.research.sweeping.plan import Plan
from cashup.research.sweeping.plateau import plateau_of
from cashup.research.sweeping.space import Between, space
from cashup.research.sweeping.sweep import run_sweep
from cashup.research.sweeping.triallog import LINES
from cashup.settings import load_settings
from cashup.strategies.notebook import load_strategy

PARAMETERS = """\
symbols = ["BTC/USDT"]
timeframe = "1h"
fast = 10
slow = 30
share = 1.0
"""
STRATEGY = """\
import cashup as cu

@cu.indicator
def average(bars, length):
    return bars.close.rolling(length).mean()

def target(bars, fast, slow, share):
    if fast == 13:
        raise ZeroDivisionError("thirteen")
    return (average(bars, fast) > average(bars, slow)) * share

print("loading")
assert 0 < fast < slow, "fast is not below slow"
params = {"fast": fast, "slow": slow, "share": share}
strategy = cu.Strategy(target, symbols=symbols, timeframe=timeframe, warmup=slow, params=params)
"""
START = 1_730_419_200_000  # 2024-11-01


def write(path: Path, *cells: str) -> Path:
    body = [
        {
            "cell_type": "code",
            "source": source,
            "metadata": {"tags": ["parameters"]} if number == 0 else {},
            "outputs": [],
            "execution_count": None,
        }
        for number, source in enumerate(cells)
    ]
    path.write_text(json.dumps({"cells": body, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    return write(tmp_path / "demo.ipynb", PARAMETERS, STRATEGY, "run = cu.run(strategy)")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CASHUP_HOME", str(tmp_path / "home"))
    lake = Lake(load_settings().lake_path)
    for symbol in ("BTC/USDT", "ETH/USDT"):
        store_generated(lake, "gate", symbol, "1h", START, 1_500, 7)


def plan(ranges: dict, run_id: str = "demo", **given) -> Plan:
    spec = RunSpec(run_id=run_id, **{name: given.pop(name) for name in ("start", "venue_limits") if name in given})
    return Plan(ranges=ranges, spec=spec, **given)


def rows(frame: pd.DataFrame) -> list[dict]:
    return json.loads(frame.to_json(orient="records"))


# -- ranges ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("5:20:5", (5, 10, 15, 20)),
        ("5:7", (5, 6, 7)),
        ("0.1:0.4:0.1", (0.1, 0.2, 0.3, 0.4)),
        ("5,10,20", (5, 10, 20)),
        ("1h,4h", ("1h", "4h")),
        ("[1e-3, 2]", (0.001, 2)),
        ("[[BTC/USDT], [ETH/USDT]]", (["BTC/USDT"], ["ETH/USDT"])),
        (range(3, 6), (3, 4, 5)),
        (np.arange(2), (0, 1)),
    ],
)
def test_ranges_are_read(text, values):
    found = space({"x": text}).ranges["x"]
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


def test_continuous_ranges_are_read():
    assert space({"x": "0.1..0.9"}).ranges["x"] == Between(0.1, 0.9)
    assert space({"x": "5..50"}).ranges["x"] == Between(5, 50, whole=True)
    assert space({"x": "log:1e-4..1e-1"}).ranges["x"] == Between(1e-4, 0.1, log=True)


@pytest.mark.parametrize("text", ["", "[]", "5:1:1", "1:5:0", "a..b", "9..1", "log:0..1", "[1", "1:2:3:4x]"])
def test_what_is_no_range_is_refused(text):
    with pytest.raises(UsageError, match=r"range|lies between|above 0"):
        space({"x": text})


def test_a_grid_needs_steps():
    with pytest.raises(UsageError, match="continuous"):
        len(space({"x": "0.1..0.9"}))


def test_draws_stay_within_and_repeat_for_a_seed():
    chosen = space({"x": "5..8", "y": "log:0.001..1", "z": "a,b"})
    stream = chosen.draws(3)
    drawn = [next(stream) for _ in range(200)]
    again = chosen.draws(3)
    assert drawn == [next(again) for _ in range(200)]
    assert {one["x"] for one in drawn} == {5, 6, 7, 8}
    assert all(0.001 <= one["y"] <= 1 for one in drawn)
    assert sum(one["y"] < 0.03 for one in drawn) > 60  # evenly in the logarithm


# -- conditions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("fast < slow", True),
        ("slow - fast >= 25", False),
        ("fast < slow and max_drawdown < 0.3", True),
        ("not fast > 5", False),
        ("1 < fast < 5", False),
        ("symbol == 'BTC'", True),
        ("sharpe > 1", False),  # a figure that is not there
    ],
)
def test_conditions_hold_or_not(text, holds):
    values = {"fast": 10, "slow": 30, "max_drawdown": 0.2, "symbol": "BTC", "sharpe": None}
    assert Condition(text).holds(values) is holds
    assert (Condition(text).excess(values) <= 0) is holds


def test_a_condition_says_by_how_much_it_is_missed():
    assert Condition("max_drawdown < 0.3").excess({"max_drawdown": 0.5}) == pytest.approx(0.2)


@pytest.mark.parametrize("text", ["", "fast", "fast <", "__import__('os')", "fast.real < 3", "fast < open('x')"])
def test_what_is_no_condition_is_refused_and_never_executed(text):
    with pytest.raises(UsageError, match="no condition"):
        Condition(text)


# -- trials ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [None, "2024-11-10"])
def test_a_trial_says_what_a_backtest_of_its_set_says(notebook, start):
    found = run_sweep(
        notebook, plan({"fast": "5,10", "slow": "20,40", "share": "[1.0, 0.5]"}, start=start, objectives=["sortino"])
    )
    assert found.counts() == {"trials": 8, "ok": 8, "invalid": 0, "failed": 0}
    for trial in found.trials:
        metrics = run_backtest(load_strategy(notebook, trial.params), start=start).metrics()
        figures = {"sharpe", "sortino", "calmar", "cagr", "total_return", "max_drawdown", "final_equity", "trades"}
        for name in figures:
            assert trial.metrics[name] == pytest.approx(metrics[name], rel=1e-9, abs=1e-9), name


def test_what_a_notebook_refuses_is_invalid_and_what_its_target_raises_has_failed(notebook, capfd):
    found = run_sweep(notebook, plan({"fast": "5,13,40", "slow": "30"}), workers=2)
    assert list(found.frame["status"]) == ["ok", "failed", "invalid"]
    assert "target() raised ZeroDivisionError: thirteen" in found.frame["reason"][1]
    assert "fast is not below slow" in found.frame["reason"][2]
    assert found.best.params == {"fast": 5, "slow": 30}
    assert "loading" not in "".join(capfd.readouterr())


def test_processes_give_what_this_process_gives(notebook):
    ranges = {"symbols": [["BTC/USDT"], ["ETH/USDT"]], "fast": "5:15:5", "slow": "20:40:10"}
    alone = run_sweep(notebook, plan(ranges, "alone"), scheduler="local")
    many = run_sweep(notebook, plan(ranges, "many"), workers=2)
    pd.testing.assert_frame_equal(alone.frame, many.frame, check_exact=True)
    assert len(many.frame) == 18
    assert many.frame.groupby(many.frame["symbols"].map(str))["sharpe"].first().nunique() == 2


@pytest.mark.parametrize("method", ["random", "tpe", "nsga2"])
def test_a_search_repeats_for_its_seed_whatever_the_number_of_processes(notebook, method):
    asked = {"method": method, "trials": 20, "seed": 5, "constraints": ["fast < slow", "trades > 5"]}
    asked["objectives"] = ["sharpe", "max_drawdown"] if method == "nsga2" else ["sharpe"]
    ranges = {"fast": "3..40", "slow": "10:60:2", "share": "0.2..1.0"}
    one = run_sweep(notebook, plan(ranges, "one", **asked), scheduler="local")
    two = run_sweep(notebook, plan(ranges, "two", **asked), workers=2)
    pd.testing.assert_frame_equal(one.frame, two.frame, check_exact=True)
    assert (one.frame["fast"] < one.frame["slow"]).all()
    assert one.frame["slow"].isin(range(10, 61, 2)).all()
    assert one.front["sharpe"].max() == one.ranked["sharpe"].max()


def test_constraints_choose_the_best(notebook):
    free = run_sweep(notebook, plan({"fast": "3:12:3", "slow": "20:60:20"}, "free"), scheduler="local")
    worst = float(free.best.metrics["trades"])
    found = run_sweep(
        notebook,
        plan({"fast": "3:12:3", "slow": "20:60:20"}, "held", constraints=[f"trades != {worst}"]),
        scheduler="local",
    )
    assert len(found.frame) == len(free.frame)
    assert found.best.metrics["trades"] != worst
    assert found.frame.loc[free.best.number, "feasible"] == np.False_


@pytest.mark.parametrize("method", ["grid", "tpe"])
def test_a_sweep_that_was_stopped_ends_as_one_that_was_not(notebook, method):
    ranges = {"fast": "3:12:1", "slow": "20:40:10"}
    asked = {"method": method, "trials": 20, "seed": 1}
    whole = run_sweep(notebook, plan(ranges, "whole", **asked), scheduler="local")

    def stop(progress):
        if progress.done == 11:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(notebook, plan(ranges, "cut", **asked), scheduler="local", told=stop)
    lines = load_settings().home_path / "runs" / "cut" / LINES
    assert lines.read_text().count("\n") == 11
    lines.write_text(lines.read_text() + '{"number": 11, "par')  # killed while it wrote
    seen = []
    again = run_sweep(notebook, sweeping.read_plan("cut"), scheduler="local", told=seen.append)
    assert len(seen) == len(whole.frame) - 11
    pd.testing.assert_frame_equal(again.frame, whole.frame, check_exact=True)


def test_a_sweep_goes_on_only_with_what_it_began_with(notebook):
    run_sweep(notebook, plan({"fast": "3,4"}), scheduler="local")
    kept = sweeping.read_plan("demo")
    write(notebook, PARAMETERS, STRATEGY + "# changed", "run = cu.run(strategy)")
    with pytest.raises(Conflict, match="the notebook has changed"):
        run_sweep(notebook, kept, scheduler="local")
    with pytest.raises(NotFound, match="no sweep 'other'"):
        sweeping.read_plan("other")


@pytest.mark.parametrize(
    ("ranges", "given", "sentence"),
    [
        ({"fsat": "1,2"}, {}, "did you mean 'fast'"),
        ({"fast": "a,b"}, {}, "whole number"),
        ({}, {}, "at least one parameter"),
        ({"fast": "1..5"}, {}, "continuous"),
        ({"fast": "1,2"}, {"method": "guess"}, "there are grid, random"),
        ({"fast": "1,2"}, {"objectives": ["sharp"]}, "did you mean 'sharpe'"),
        ({"fast": "1,2"}, {"constraints": ["drawdown < 1"]}, "max_drawdown"),
        ({"fast": "1,2"}, {"constraints": ["fast > 5"]}, "no set of the grid"),
        ({"fast": "50,60"}, {}, "fast is not below slow"),
    ],
)
def test_mistakes_show_before_the_work_begins(notebook, ranges, given, sentence):
    with pytest.raises(Exception, match=sentence):
        run_sweep(notebook, plan(ranges, **given))
    assert not (load_settings().home_path / "runs" / "demo" / LINES).exists()


def test_a_notebook_parameter_of_another_type_is_named(notebook):
    with pytest.raises(NotebookError, match="whole number"):
        run_sweep(notebook, plan({"fast": "5,7.5"}), scheduler="local").best  # noqa: B018


# -- what to think of it --------------------------------------------------------------------------------------------


def surface(height) -> pd.DataFrame:
    points = [{"x": x, "y": y, "sharpe": height(x, y)} for x in range(9) for y in range(9)]
    return pd.DataFrame(points)


def test_a_lonely_peak_is_told_from_a_plateau():
    hill = plateau_of(surface(lambda x, y: -((x - 4) ** 2) - (y - 4) ** 2), ["x", "y"], "sharpe", 1)
    assert (hill.peak, hill.plateau, hill.lonely) == (40, 40, False)
    needle = surface(lambda x, y: 100.0 if (x, y) == (1, 1) else -float((x - 6) ** 2 + (y - 6) ** 2))
    found = plateau_of(needle, ["x", "y"], "sharpe", 1)
    assert found.peak == 10
    assert found.lonely
    row = found.frame.loc[10]
    assert row["neighbours"] == 8
    near = needle[needle["x"].between(0, 2) & needle["y"].between(0, 2)].drop(10)["sharpe"]
    assert row["mean"] == pytest.approx(near.mean())
    assert row["worst"] == near.min()


def test_pictures_are_made_and_stand_alone(notebook, tmp_path):
    found = run_sweep(
        notebook,
        plan({"fast": "3:12:3", "slow": "20:60:20", "share": "[0.5, 1.0]"}, objectives=["sharpe", "max_drawdown"]),
        scheduler="local",
    )
    assert found.heatmap("fast", "slow").data[0].z.shape == (3, 4)
    assert len(found.heatmaps()) == 3
    assert len(found.parallel().data[0].dimensions) == 6
    assert len(found.plateau().data) == 4
    assert len(found.pareto().data) == 2
    found.save(tmp_path / "x.html")
    page = (tmp_path / "x.html").read_text()
    assert "<script src=" not in page
    assert "24 trials" in page
    assert "24 trials" in found._repr_html_()
    document = json.loads(json.dumps(found.to_json(3)))
    assert document["best"]["params"] == found.best.params
    assert len(document["top"]) == 3
    assert document["deflated"]["trials"] == 24
    stored = pd.read_parquet(found.folder / "trials.parquet")
    assert stored["sharpe"].tolist() == found.frame["sharpe"].tolist()
