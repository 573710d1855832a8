"""Tables for people."""

from __future__ import annotations

from collections.abc import Sequence

WIDE = 1_000
"""Columns of a pipe or a file, which has no width: nothing is cut off there."""


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print `rows` under `header` (no header line when all of it is empty) on stdout."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    table = Table(*header, show_header=any(header), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console.print(table)
