"""Parameters that change nothing: a name in the parameters cell that nobody reads, or whose value does not matter."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cashup.errors import CashUpError
from cashup.research.checks.outputs import differing, outputs
from cashup.research.checks.subject import Subject, clean
from cashup.research.checks.verdict import Check, Evidence, Verdict
from cashup.strategies.notebook import PARAMETERS, read_cells, read_parameters
from cashup.strategies.strategy import Strategy

NAME = "parameters"
BARS = 2_000
SETTINGS = (
    "symbols",
    "watch",
    "timeframe",
    "warmup",
    "rebalance",
    "leverage",
    "stop_loss",
    "take_profit",
    "trailing_stop",
)


def check_parameters(subject: Subject) -> Check:
    """Give each parameter other values: fails for one that no cell mentions, warns of one that changes nothing."""
    if subject.notebook is None:
        return Check(NAME, Verdict.SKIPPED, "a strategy without a notebook has no parameters cell")
    known = read_parameters(subject.notebook)
    mentioned = _mentioned(subject.notebook)
    unread = [name for name in known if name not in mentioned]
    bars = subject.bars.rows(max(0, len(subject.bars) - BARS - subject.warmup), len(subject.bars))
    varied = _Varied(subject, bars)
    tried = [name for name in known if name in mentioned]
    idle = [name for name in tried if not varied.matters(name, subject.params.get(name, known[name].default))]
    evidence = [
        Evidence(cause=f"{name} is never read after the parameters cell; use it or take it out") for name in unread
    ]
    evidence += [Evidence(cause=f"{name} is read, but {varied.tried[name]} change nothing") for name in idle]
    facts = {"untouched": [*unread, *idle]}
    if unread:
        return Check(NAME, Verdict.FAILED, f"nobody reads {', '.join(unread)}", evidence, facts=facts)
    if idle:
        return Check(
            NAME, Verdict.WARNING, f"{', '.join(idle)} made no difference on these bars", evidence, facts=facts
        )
    return Check(NAME, Verdict.PASSED, f"each of {len(known)} parameters changes something", facts=facts)


def neighbours(value: Any) -> Iterator[Any]:
    """Other values of the same type, near ones first; none for what has no neighbours."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + step for step in (max(1, value // 2), -max(1, value // 3), 1, -1) if value + step != value)
        yield value * 3 + 2
    elif isinstance(value, float):
        yield from (value * 1.5, value * 0.5, value * 3, value + 0.1) if value else (0.1, 1.0, -0.1)
    elif isinstance(value, list | tuple) and value and all(isinstance(one, int | float) for one in value):
        yield from (type(value)([*value[:-1], other]) for other in neighbours(value[-1]))
    elif isinstance(value, list | tuple) and len(value) > 1:
        yield value[:-1]


class _Varied:
    def __init__(self, subject: Subject, bars: Any) -> None:
        self._subject, self._bars = subject, bars
        self._strategy = subject.fresh()
        self._before = outputs(self._strategy, clean(bars))
        self.tried: dict[str, str] = {}

    def matters(self, name: str, value: Any) -> bool:
        """True when another value changes something, or none can be tried: text and symbols have no neighbours."""
        failures = tried = 0
        for other in neighbours(value):
            try:
                strategy = self._subject.fresh(**{name: other})
                if self._differs(strategy):
                    return True
            except CashUpError:
                failures += 1  # a value that the notebook refuses: the parameter is read
                continue
            except Exception:  # noqa: BLE001  the author's code refuses the value in its own words
                failures += 1
                continue
            tried += 1
            self.tried[name] = f"{tried} other value{'s' * (tried > 1)}"
        return tried == 0

    def _differs(self, strategy: Strategy) -> bool:
        if any(_setting(strategy, name) != _setting(self._strategy, name) for name in SETTINGS):
            return True
        found = outputs(strategy, clean(self._bars))
        return any(bool(differing(values, found[name], 0.0).any()) for name, values in self._before.items())


def _setting(strategy: Strategy, name: str) -> Any:
    value = getattr(strategy, name)
    return callable(value) or value


def _mentioned(notebook: Path) -> set[str]:
    """Every name that the code after the parameters cell reads."""
    names: set[str] = set()
    code = [cell for cell in read_cells(notebook) if cell.kind == "code"]
    tagged = [number for number, cell in enumerate(code) if PARAMETERS in cell.tags]
    for cell in code[tagged[-1] + 1 if tagged else 0 :]:
        source = "\n".join("" if line.startswith(("%", "!")) else line for line in cell.source.split("\n"))
        try:
            tree = ast.parse(source)
        except SyntaxError:
            continue  # loading the notebook reports it
        names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    return names
