"""Puts what the scenarios saw into `docs/reliability.md`, at the end of a run: `python -m tests.faults.table`."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.faults.scenarios.report import NAME, Scenario, declared

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "reliability.md"
RESULTS = PAGE.with_suffix(".json")

SPOT = frozenset(range(1, 63)) - {17, 27, 28, 30, 33}
"""The numbers of the catalogue that concern spot; the others need futures."""

OPEN = {
    57: "a notebook has no list of orders yet, only targets, which are one intent a bar",
}
"""Those that have no test yet, and what is so instead."""

_BEGIN, _END = "<!-- the table begins -->", "<!-- the table ends -->"


def scenarios() -> Iterator[Scenario]:
    """What the tests in the tree declare, by their names and docstrings."""
    for file in sorted(TESTS.rglob("test_*.py")):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and NAME.match(node.name):
                yield declared(node.name, ast.get_docstring(node) or "")


def results() -> dict[int, dict[str, Any]]:
    """What the newest run of each scenario saw, by number."""
    return {int(number): row for number, row in json.loads(RESULTS.read_text()).items()}


def table(rows: Mapping[int, Mapping[str, Any]]) -> str:
    """The table in Markdown: the scenarios by number, then what has no test yet."""
    lines = ["| # | what happens | what must follow | what was seen | invariants | |", "|---|---|---|---|---|---|"]
    for number, row in sorted(rows.items()):
        held = _ranges(row["invariants"])
        cells = [str(number), row["injected"], row["expected"], row["seen"], held, "✓" if row["passed"] else "✗"]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    lines += ["", "Not tested by number yet:", ""]
    lines += [f"- **{number}**: {why}" for number, why in sorted(OPEN.items())]
    return "\n".join(lines)


def _ranges(numbers: list[int]) -> str:
    """Numbers as people write them: 1 to 4, 6."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(f"{part[0]} to {part[-1]}" if len(part) > 1 else f"{part[0]}" for part in parts)


def page(text: str, rows: Mapping[int, Mapping[str, Any]]) -> str:
    """The page with the table of these rows in the place of the one it has."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n\n{table(rows)}\n\n{_END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(), results()))
