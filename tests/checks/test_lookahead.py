"""Every strategy that looks ahead is found, and no honest one is accused."""

from __future__ import annotations

from pathlib import Path

import pytest

from cashup.research.checks.lookahead import check_lookahead
from cashup.research.checks.subject import Subject
from cashup.strategies.notebook import load_strategy
from tests.checks.dishonest import LOOKING_AHEAD
from tests.checks.honest import HONEST
from tests.checks.subjects import hours, notebook, subject

REACHED = [
    *("global_frame", "global_array", "closure", "default_argument", "function_attribute", "instance"),
    *("helper_function", "dict_of_frames", "partial"),
]


@pytest.mark.parametrize("name", LOOKING_AHEAD)
def test_looking_ahead_is_found(tmp_path: Path, name: str) -> None:
    found = check_lookahead(subject(notebook(tmp_path, LOOKING_AHEAD[name])))
    assert found.verdict == "failed", found
    assert all(one.cause for one in found.evidence)


@pytest.mark.parametrize("name", REACHED)
def test_what_a_strategy_in_memory_reaches_is_cut(tmp_path: Path, name: str) -> None:
    strategy = load_strategy(notebook(tmp_path, LOOKING_AHEAD[name]))
    found = check_lookahead(Subject(strategy, hours()))
    assert found.verdict == "failed", found
    assert "goes beyond the bar" in found.evidence[0].cause


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_strategy_passes(tmp_path: Path, name: str) -> None:
    found = check_lookahead(subject(notebook(tmp_path, HONEST[name])))
    assert found.verdict == "passed", found
