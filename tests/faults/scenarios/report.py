"""What became of each scenario: what was injected, what had to happen, what was seen, and which invariants held."""

from __future__ import annotations

import fcntl
import inspect
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.checker import Checker
from tests.faults.rules import ALWAYS, AT_REST, Rule

RESULTS = "CASHUP_PROOF_RESULTS"
"""The file into which a run writes what it saw; without it nothing is written."""

NAME = re.compile(r"test_scenario_(\d+)_")


@dataclass
class Scenario:
    """One numbered scenario while it runs.

    Its test is named after its number. The first paragraph of the docstring is what is injected, the second one what
    must happen; `seen` collects what did, in words that are made of the real state and are the same in every run.
    """

    number: int
    injected: str
    expected: str
    sentences: list[str] = field(default_factory=list)
    invariants: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, test: Callable[..., Any]) -> Scenario:
        """The scenario that a test declares. Raises ValueError when it declares none."""
        return declared(test.__name__, inspect.getdoc(test) or "")

    def seen(self, sentence: str) -> None:
        """Something that was seen, in words."""
        self.sentences.append(sentence)

    async def at_rest(self, checker: Checker, *, without: Sequence[Rule] = ()) -> None:
        """Everything must hold now that nothing is on its way; `without` are rules that the injection itself breaks."""
        asked = [rule for rule in (*ALWAYS, *AT_REST) if rule not in without]
        said = await checker.check(asked)
        assert said == [], said
        self.invariants |= {int(rule.__name__[1:3]) for rule in asked if rule.__name__.startswith("i")}

    def row(self, *, passed: bool) -> dict[str, Any]:
        """As a run writes it down."""
        return {
            "injected": self.injected,
            "expected": self.expected,
            "seen": " ".join(self.sentences),
            "invariants": sorted(self.invariants),
            "passed": passed,
        }


def declared(name: str, doc: str) -> Scenario:
    """The scenario of a test with this name and docstring. Raises ValueError when they declare none."""
    numbered = NAME.match(name)
    paragraphs = [" ".join(paragraph.split()) for paragraph in doc.split("\n\n")]
    if numbered is None or len(paragraphs) != 2:
        raise ValueError(f"{name} is no scenario: it is named after its number and says what is injected and expected")
    return Scenario(int(numbered[1]), *paragraphs)


def write(scenario: Scenario, *, passed: bool) -> None:
    """Put the row of a scenario into the results, when they are wanted; several processes may do so at once."""
    wanted = os.environ.get(RESULTS)
    if wanted is None:
        return
    with Path(wanted).open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        rows = json.loads(file.read() or "{}")
        rows[str(scenario.number)] = scenario.row(passed=passed)
        file.seek(0)
        file.truncate()
        ordered = {name: rows[name] for name in sorted(rows, key=int)}
        file.write(json.dumps(ordered, indent=2, ensure_ascii=False) + "\n")
