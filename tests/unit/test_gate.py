"""The gate on made-up evidence: every criterion opens and shuts it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cashup.errors import UsageError
from cashup.research.gate import Evidence, judge, read_thresholds

GOOD = Evidence(
    data_version="d",
    failed_checks=[],
    replay_differences=0,
    trades=200,
    max_drawdown=0.2,
    twice_costs_return=0.1,
    deflated_sharpe=0.97,
    trials=40,
    walkforward_sharpe=1.1,
    walkforward_efficiency=0.7,
)


def failed(found: Evidence, path: Path | None = None) -> list[str]:
    return [one.name for one in judge(found, read_thresholds(path)).criteria if not one.passed]


def test_a_good_strategy_passes_every_criterion() -> None:
    gate = judge(GOOD, read_thresholds())
    assert gate.passed
    assert len(gate.criteria) == 8
    assert "the gate is open" in repr(gate)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"failed_checks": ["lookahead"]}, "checks"),
        ({"failed_checks": None}, "checks"),
        ({"replay_differences": 3}, "replay"),
        ({"replay_differences": None}, "replay"),
        ({"trades": 29}, "min_trades"),
        ({"max_drawdown": 0.51}, "max_drawdown"),
        ({"twice_costs_return": -0.01}, "min_twice_costs_return"),
        ({"deflated_sharpe": 0.89}, "min_deflated_sharpe"),
        ({"deflated_sharpe": None}, "min_deflated_sharpe"),
        ({"walkforward_sharpe": -0.1}, "min_walkforward_sharpe"),
        ({"walkforward_sharpe": None}, "min_walkforward_sharpe"),
        ({"walkforward_efficiency": float("nan")}, "min_walkforward_efficiency"),
    ],
)
def test_one_weakness_shuts_it(change: dict, name: str) -> None:
    assert failed(replace(GOOD, **change)) == [name]


def test_a_threshold_itself_passes() -> None:
    assert failed(replace(GOOD, trades=30, max_drawdown=0.5, twice_costs_return=0.0, deflated_sharpe=0.9)) == []


def test_a_file_changes_thresholds_and_switches_criteria_off(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text("min_trades = 500\nmin_walkforward_sharpe = false\nchecks = false\n")
    assert failed(replace(GOOD, walkforward_sharpe=None, failed_checks=["secrets"]), path) == ["min_trades"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("min_trads = 3", "did you mean 'min_trades'?"),
        ("min_trades = 'many'", "it is a number, or false"),
        ("checks = 1", "it is true or false"),
        ("min_trades = true", "it is a number, or false"),
        ("min_trades", "cannot be read as a gate"),
    ],
)
def test_a_file_that_is_no_gate_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said.replace("?", r"\?")):
        read_thresholds(path)


def test_the_sentences_say_what_is_asked_for() -> None:
    (line,) = [one.message for one in judge(replace(GOOD, trades=3), read_thresholds()).criteria if not one.passed]
    assert line == "3 trades; at least 30 is asked for"
