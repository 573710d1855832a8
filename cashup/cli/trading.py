"""`cashup orders`, `cashup positions`, `cashup fills` and `cashup ledger`: what is, as the gateway has booked it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from cashup.client import Client, Row

Deployment = Annotated[str | None, typer.Option(help="of this deployment only")]
Json = Annotated[bool, typer.Option("--json", help="one JSON document on stdout")]

_ORDERS = (
    *("deployment", "version", "created_at", "symbol", "side", "type", "state", "filled", "average_price", "reason"),
)
_POSITIONS = ("deployment", "symbol", "quantity", "reserved", "average_cost", "mark", "value", "realised", "unrealised")
_FILLS = ("deployment", "time", "symbol", "side", "quantity", "price", "fee", "fee_currency")
_LEDGER = ("at", "account", "deployment", "cause", "kind", "asset", "amount", "balance")
_TIMES = {"created_at", "time", "at"}


def orders(deployment: Deployment = None, as_json: Json = False) -> None:
    """Orders, oldest first."""
    _show("orders", lambda client: client.orders(deployment), _ORDERS, as_json=as_json)


def positions(deployment: Deployment = None, as_json: Json = False) -> None:
    """What is held, what it cost, and what it is worth at the newest price."""
    _show("positions", lambda client: client.positions(deployment), _POSITIONS, as_json=as_json)


def fills(deployment: Deployment = None, as_json: Json = False) -> None:
    """Executions, oldest first."""
    _show("fills", lambda client: client.fills(deployment), _FILLS, as_json=as_json)


def ledger(
    deployment: Deployment = None,
    account: Annotated[str | None, typer.Option(help="of this account only")] = None,
    limit: Annotated[int, typer.Option(help="the newest so many entries")] = 1_000,
    as_json: Json = False,
) -> None:
    """Entries of the ledger, oldest first, each with the balance after it."""
    _show("ledger", lambda client: client.ledger(deployment, account, limit), _LEDGER, as_json=as_json)


def _show(noun: str, ask: Callable[[Client], list[Row]], columns: tuple[str, ...], *, as_json: bool) -> None:
    import json

    from cashup.cli.table import print_table
    from cashup.client import Client
    from cashup.settings import load_settings

    with Client.from_settings(load_settings()) as client:
        rows = ask(client)
    if as_json:
        typer.echo(json.dumps({noun: rows}))
        return
    print_table([name.replace("_", " ") for name in columns], [[_cell(name, row) for name in columns] for row in rows])


def _cell(name: str, row: Row) -> str:
    from cashup.clock import isoformat

    value: Any = row.get(name)
    if value is None:
        return ""
    return isoformat(value) if name in _TIMES else str(value)
