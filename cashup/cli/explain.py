"""`cashup explain ORDER`: why an order is what it is, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from cashup.client import Row

_STYLES = {"answer": "cyan", "request": "cyan", "fill": "green", "risk": "yellow", "ledger": "magenta", "audit": "blue"}


def explain(
    order: Annotated[str, typer.Argument(help="its id, ours (t-...) or the venue's, or how it begins")],
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document on stdout")] = False,
) -> None:
    """Bar, target, plan, risk decisions, request, answers, frames, fills and ledger entries of one order, in order."""
    import json

    from cashup.client import Client
    from cashup.settings import load_settings

    with Client.from_settings(load_settings()) as client:
        story = client.explain(order)
    if as_json:
        typer.echo(json.dumps(story))
    else:
        _print(story)


def _print(story: Row) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from cashup.cli.table import WIDE

    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    shown = story["order"]
    console.print(Text(story["summary"], style="bold"))
    made = f"  version: {shown['version']}" if shown.get("version") else ""
    console.print(
        Text(f"{shown['client_order_id']}  on the venue: {shown['exchange_order_id'] or '-'}{made}"), style="dim"
    )
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for step in story["steps"]:
        kind = Text(step["kind"], style=_STYLES.get(step["kind"], ""))
        table.add_row(step["time"], f"+{step['after_ms']} ms", kind, Text(step["summary"]))
    console.print(table)
    _figures(console, "milliseconds", story["latencies"])
    _figures(console, "sha256", story["hashes"])


def _figures(console: Console, title: str, figures: Row) -> None:
    """One line per figure that there is."""
    lines = []
    for name, value in figures.items():
        values = [one for one in (value if isinstance(value, list) else [value]) if one is not None]
        if values:
            lines.append(f"  {name.replace('_', ' ')}: {', '.join(map(str, values))}")
    if lines:
        console.print("\n".join([title, *lines]), style="dim", highlight=False)
