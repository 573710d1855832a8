"""`cashup account`: exchange accounts, through the gateway."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated

import typer

app = typer.Typer(help="exchange accounts", no_args_is_help=True, rich_markup_mode=None)

KEY, SECRET = "CASHUP_ACCOUNT_KEY", "CASHUP_ACCOUNT_SECRET"

Json = Annotated[bool, typer.Option("--json", help="one JSON document on stdout")]


def register(root: typer.Typer) -> None:
    """Add the commands of this file to `root`."""
    root.add_typer(app, name="account")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="what you call the account")],
    mode: Annotated[str, typer.Option(help="paper, sandbox or live")],
    exchange: Annotated[str, typer.Option(help="the exchange")] = "gate",
    base_url: Annotated[str | None, typer.Option(help="another server that speaks the same")] = None,
    as_json: Json = False,
) -> None:
    """Store an account. Key and secret are asked for, or taken from CASHUP_ACCOUNT_KEY and CASHUP_ACCOUNT_SECRET, or
    read as two lines from standard input; they go to the gateway's vault and never come out.
    """
    from cashup.client import Client
    from cashup.settings import load_settings

    key, secret = _credentials(exchange)
    document = {"name": name, "exchange": exchange, "mode": mode, "key": key, "secret": secret, "base_url": base_url}
    with Client.from_settings(load_settings()) as client:
        account = client.add_account(document)
    typer.echo(json.dumps(account) if as_json else f"account {name} is stored (key {account['fingerprint']})")


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Every account and its state."""
    from cashup.client import Client
    from cashup.settings import load_settings

    with Client.from_settings(load_settings()) as client:
        accounts = client.accounts()
    if as_json:
        typer.echo(json.dumps(accounts))
        return
    for account in accounts:
        where = account["base_url"] or account["exchange"]
        line = f"{account['name']:<16} {account['mode']:<8} {account['state']:<12} {where} {account['message']}"
        typer.echo(line.rstrip())


def _credentials(exchange: str) -> tuple[str, str]:
    if KEY in os.environ and SECRET in os.environ:
        return os.environ[KEY], os.environ[SECRET]
    if not sys.stdin.isatty():
        return sys.stdin.readline().strip(), sys.stdin.readline().strip()
    ask = f"{exchange} API"
    return str(typer.prompt(f"{ask} key", hide_input=True)), str(typer.prompt(f"{ask} secret", hide_input=True))
