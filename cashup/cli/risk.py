"""`cashup risk`: limits, how far they are used, and what holds orders back."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cashup.client import Client, Row

app = typer.Typer(
    help="limits, their use, and what they hold back", no_args_is_help=True, rich_markup_mode=None, add_completion=False
)

Scope = Annotated[str, typer.Argument(help="account or user")]
Name = Annotated[str, typer.Argument(help="whose limits")]
Limit = Annotated[str, typer.Argument(help="the limit, such as max_drawdown")]
Json = Annotated[bool, typer.Option("--json", help="one JSON document on stdout")]


def register(root: typer.Typer) -> None:
    """Add the group to the command line."""
    root.add_typer(app, name="risk")


@app.command()
def show(
    deployment: Annotated[str | None, typer.Argument(help="this deployment only")] = None, as_json: Json = False
) -> None:
    """What each deployment may do, how far that is used, and what holds its orders back."""
    import json

    from cashup.errors import NotFound

    with _client() as client:
        rows = [row for row in client.risk() if deployment in (None, row["deployment"])]
    if deployment is not None and not rows:
        raise NotFound(f"there is no deployment {deployment}; `cashup live ps` shows what there is")
    if as_json:
        print(json.dumps(rows))
        return
    for row in rows:
        print("\n".join(_sentences(row)))


@app.command()
def limits(as_json: Json = False) -> None:
    """The limits of accounts and users, and who set them."""
    import json

    from cashup.cli.table import print_table
    from cashup.clock import isoformat

    with _client() as client:
        rows = client.risk_limits()
    if as_json:
        print(json.dumps(rows))
        return
    lines = [
        [row["scope"], row["name"], name, str(value), row["by"], isoformat(row["updated_at"])]
        for row in rows
        for name, value in row["limits"].items()
    ]
    print_table(["scope", "name", "limit", "value", "set by", "at"], lines)


@app.command("set")
def set_(
    scope: Scope, name: Name, limit: Limit, value: Annotated[str, typer.Argument(help="0.2, 5000, halted ...")]
) -> None:
    """Set one limit of an account or a user."""
    with _client() as client:
        _change(client, scope, name, limit, value)
    print(f"{scope} {name}: {limit} is {value}", file=sys.stderr)


@app.command()
def unset(scope: Scope, name: Name, limit: Limit) -> None:
    """Take one limit of an account or a user away."""
    with _client() as client:
        _change(client, scope, name, limit, None)
    print(f"{scope} {name}: {limit} has no limit any more", file=sys.stderr)


@app.command()
def clear(
    scope: Annotated[str, typer.Argument(help="deployment, account or user")],
    name: Annotated[str, typer.Argument(help="whose latch")],
    code: Annotated[str, typer.Argument(help="daily_loss or max_drawdown")],
) -> None:
    """You have looked: lift what a loss has latched. Losses are measured from now on."""
    with _client() as client:
        client.clear_latch(scope, name, code)
    print(f"{scope} {name}: {code} is lifted, and losses are measured from now on", file=sys.stderr)


def _change(client: Client, scope: str, name: str, limit: str, value: str | None) -> None:
    """Store the limits there are with one of them changed."""
    from cashup.errors import NotFound

    known = [row["limits"] for row in client.risk_limits() if (row["scope"], row["name"]) == (scope, name)]
    now: dict[str, Any] = dict(known[0]) if known else {}
    if value is not None:
        now[limit] = value
    elif now.pop(limit, None) is None:
        raise NotFound(f"{scope} {name} has no limit {limit}; `cashup risk limits` shows what there is")
    client.put_risk_limits(scope, name, now)


def _sentences(row: Row) -> Iterator[str]:
    yield f"{row['deployment']} on {row['account']} of {row['owner']}: {row['state'].upper()}"
    for halt in row["halts"]:
        yield f"  {halt['state']} by {halt['code']} of {halt['scope']} {halt['name']}: {halt['reason']}"
    for pause in row["pauses"]:
        yield f"  {pause['symbol'] or 'every symbol'} is paused ({pause['code']}): {pause['reason']}"
    for one in row["limits"]:
        yield f"  limits of {one['of']}:"
        for name, value in one["limits"].items():
            use = _use(name, one.get("used"))
            yield f"    {name} {value}{f', now {use}' if use else ''}"
    for loss in row["losses"]:
        lost = f"{_percent(loss['daily_loss'])} since 00:00 UTC, {_percent(loss['drawdown'])} since the peak"
        yield f"  {loss['of']}: worth {_short(loss['value'])} {row['quote']}, lost {lost}"
    if not row["live"]:
        yield "  (its account is not traded by this gateway now: how far limits are used is not known)"


def _use(name: str, used: Row | None) -> str:
    """How far a limit is used, for people."""
    if used is None:
        return ""
    positions = ", ".join(f"{symbol} {_short(value)}" for symbol, value in used["positions"].items())
    shown = {
        "max_position_notional": positions or "nothing held",
        "max_gross_exposure": _ratio(used["gross_exposure"], used["equity"]),
        "max_net_exposure": _ratio(used["net_exposure"], used["equity"]),
        "max_orders_per_minute": str(used["orders_last_minute"]),
        "max_open_orders": str(used["open_orders"]),
    }
    return shown.get(name, "")


def _ratio(amount: str, equity: str) -> str:
    from decimal import Decimal

    return f"{Decimal(amount) / Decimal(equity):.4f}" if Decimal(equity) else "unknown"


def _percent(ratio: str) -> str:
    from decimal import Decimal

    return f"{Decimal(ratio):.2%}"


def _short(amount: str) -> str:
    from decimal import Decimal

    return f"{Decimal(amount):.2f}"


def _client() -> Client:
    from cashup.client import Client
    from cashup.settings import load_settings

    return Client.from_settings(load_settings())
