"""The table of failure scenarios names every one, and says of each what its test declares."""

from __future__ import annotations

from collections import Counter

from tests.faults import table


def test_every_scenario_that_concerns_spot_has_one_test_or_a_reason() -> None:
    found = Counter(scenario.number for scenario in table.scenarios())
    assert max(found.values()) == 1
    assert set(found) | set(table.OPEN) == table.SPOT
    assert not set(found) & set(table.OPEN)


def test_the_committed_run_is_one_of_these_tests() -> None:
    rows = table.results()
    said = {scenario.number: (scenario.injected, scenario.expected) for scenario in table.scenarios()}
    assert {number: (row["injected"], row["expected"]) for number, row in rows.items()} == said
    assert all(row["seen"] and row["passed"] for row in rows.values())


def test_the_page_has_the_table_of_the_committed_run() -> None:
    text = table.PAGE.read_text()
    assert table.page(text, table.results()) == text
