"""The documentation of the simulator names every fault as the catalogue does."""

from __future__ import annotations

from pathlib import Path

from cashup.simulator.faults.catalogue import KINDS

PAGE = Path(__file__).parents[2] / "docs" / "simulator.md"
BEGIN, END = "<!-- faults -->\n", "<!-- end of faults -->"


def table() -> str:
    """The catalogue as Markdown."""
    rows = ["| kind | strikes | options | what happens |", "|---|---|---|---|"]
    for kind in KINDS.values():
        options = ", ".join(f"`{name}={value}`" for name, value in kind.options.items())
        rows.append(f"| `{kind.name}` | {kind.layer} | {options} | {kind.about} |")
    return "\n".join(rows) + "\n"


def test_the_table_of_faults_is_the_catalogue() -> None:
    page = PAGE.read_text()
    shown = page[page.index(BEGIN) + len(BEGIN) : page.index(END)]
    assert shown == table(), f"put this between the marks in {PAGE.name}:\n{table()}"
