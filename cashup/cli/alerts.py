"""`cashup alerts`: what somebody must look at."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cashup.client import Client, Row


def alerts(
    acknowledge: Annotated[
        list[int] | None, typer.Option("--acknowledge", "-a", help="you have looked at this one, by its number")
    ] = None,
    deployment: Annotated[str | None, typer.Option(help="of this deployment only")] = None,
    everything: Annotated[bool, typer.Option("--all", help="also what somebody has looked at")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document on stdout")] = False,
) -> None:
    """What somebody must look at, the newest first; with -a say that you have."""
    import json

    with _client() as client:
        for ident in acknowledge or ():
            row = client.acknowledge_alert(ident)
            print(f"alert {ident} ({row['code']} {row['deployment']}) is acknowledged", file=sys.stderr)
        if acknowledge and not as_json:
            return
        rows = client.alerts(deployment, acknowledged=everything)
    if as_json:
        print(json.dumps(rows))
        return
    from cashup.cli.table import print_table

    header = ["number", "severity", "since", "times", "deployment", "code", "message", "acknowledged by"]
    print_table(header, [_line(row) for row in rows])


def _line(row: Row) -> list[str]:
    from cashup.clock import isoformat

    return [
        str(row["id"]),
        row["severity"],
        isoformat(row["at"]),
        str(row["times"]),
        row["deployment"],
        row["code"],
        row["message"],
        row["acknowledged_by"] or "",
    ]


def _client() -> Client:
    from cashup.client import Client
    from cashup.settings import load_settings

    return Client.from_settings(load_settings())
