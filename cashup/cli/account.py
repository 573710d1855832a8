"""`cashup account`: exchange accounts, through the gateway."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Annotated, Any

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
    balance: Annotated[list[str] | None, typer.Option(help="paper: what it begins with, such as USDT=10000")] = None,
    timeframe: Annotated[str | None, typer.Option(help="paper: the candles it follows (1m)")] = None,
    latency: Annotated[int | None, typer.Option(help="paper: ms until an order arrives (50)")] = None,
    jitter: Annotated[int | None, typer.Option(help="paper: ms more at random (50)")] = None,
    seed: Annotated[int | None, typer.Option(help="paper: the seed of the jitter (0)")] = None,
    liquidity: Annotated[str | None, typer.Option(help="paper: share of a bar's volume (0.1), or unlimited")] = None,
    slippage: Annotated[str | None, typer.Option(help="paper: fraction lost by what takes (0)")] = None,
    taker_fee: Annotated[str | None, typer.Option(help="paper: a fraction; the venue's by default")] = None,
    maker_fee: Annotated[str | None, typer.Option(help="paper: a fraction; the venue's by default")] = None,
    as_json: Json = False,
) -> None:
    """Store an account. Key and secret are asked for, or taken from CASHUP_ACCOUNT_KEY and CASHUP_ACCOUNT_SECRET, or
    read as two lines from standard input; they go to the gateway's vault and never come out. A paper account has none:
    it trades made-up money on live prices.
    """
    from cashup.client import Client
    from cashup.settings import load_settings

    given = {
        "timeframe": timeframe,
        "latency": latency,
        "jitter": jitter,
        "seed": seed,
        "slippage": slippage,
        "taker_fee": taker_fee,
        "maker_fee": maker_fee,
    }
    terms: dict[str, Any] = {word: value for word, value in given.items() if value is not None}
    if liquidity is not None:
        terms["liquidity"] = None if liquidity == "unlimited" else liquidity
    if balance:
        terms["balances"] = _balances(balance)
    document: dict[str, Any] = {"name": name, "exchange": exchange, "mode": mode, "base_url": base_url}
    document |= {"terms": terms} if terms or mode == "paper" else {}
    if mode != "paper":
        document["key"], document["secret"] = _credentials(exchange)
    with Client.from_settings(load_settings()) as client:
        account = client.add_account(document)
    kept = f"key {account['fingerprint']}" if account["fingerprint"] else "paper"
    typer.echo(json.dumps(account) if as_json else f"account {name} is stored ({kept})")


@app.command()
def show(name: Annotated[str, typer.Argument(help="the account")], as_json: Json = False) -> None:
    """One account, its state, and what a paper account assumes."""
    from cashup.client import Client
    from cashup.settings import load_settings

    with Client.from_settings(load_settings()) as client:
        account = client.account(name)
    if as_json:
        typer.echo(json.dumps(account))
        return
    typer.echo(_line(account))
    typer.echo(_silence(account["countdown"]))
    if account["terms"] is not None:
        opening = ", ".join(f"{amount} {asset}" for asset, amount in account["terms"]["balances"].items())
        typer.echo(f"began with {opening}, and assumes:")
        for number, sentence in enumerate(account["assumptions"], 1):
            typer.echo(f"{number:>3}. {sentence}")


@app.command()
def reconciliation(name: Annotated[str, typer.Argument(help="the account")], as_json: Json = False) -> None:
    """Do its books agree with the venue? Exit code 1 when they do not."""
    from cashup.client import Client
    from cashup.settings import load_settings

    with Client.from_settings(load_settings()) as client:
        found = client.reconciliation(name)
    if as_json:
        typer.echo(json.dumps(found))
    else:
        _print_comparison(found)
    if found["differences"]:
        raise typer.Exit(1)


def _print_comparison(found: Mapping[str, Any]) -> None:
    from cashup.clock import isoformat

    when = f", compared {isoformat(found['at'])} ({found['cause']})" if found["at"] is not None else ""
    typer.echo(f"{found['account']} is {found['state']}{when}. {found['message']}".rstrip())
    for difference in found["differences"]:
        typer.echo(f"  {difference['summary']}")
        typer.echo(f"    probably: {difference['cause']}")
        typer.echo(f"    to do: {difference['advice']}")


@app.command()
def accept(name: Annotated[str, typer.Argument(help="the account")]) -> None:
    """You have looked: book the differences that block the account as they are, and compare again."""
    from cashup.client import Client
    from cashup.settings import load_settings

    with Client.from_settings(load_settings()) as client:
        client.accept_difference(name)
    typer.echo(f"the differences of {name} are booked; it is compared again")


@app.command()
def countdown(
    name: Annotated[str, typer.Argument(help="the account")],
    seconds: Annotated[int, typer.Argument(help="10 to 600, or 0 for never")],
    as_json: Json = False,
) -> None:
    """The dead man's switch: after how many seconds without a gateway the venue cancels what rests."""
    from cashup.client import Client
    from cashup.settings import load_settings

    with Client.from_settings(load_settings()) as client:
        account = client.set_countdown(name, seconds)
    typer.echo(json.dumps(account) if as_json else f"{name}: {_silence(account['countdown'])}")


def _silence(seconds: int) -> str:
    if seconds == 0:
        return "what rests stays when the gateway dies"
    return f"what rests is cancelled {seconds} s after the last word of a gateway"


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
        typer.echo(_line(account))


def _line(account: Mapping[str, Any]) -> str:
    where = account["base_url"] or account["exchange"]
    line = f"{account['name']:<16} {account['mode']:<8} {account['state']:<12} {where} {account['message']}"
    return line.rstrip()


def _balances(words: list[str]) -> dict[str, str]:
    from cashup.errors import UsageError

    found = {}
    for word in words:
        asset, equals, amount = word.partition("=")
        if not equals:
            raise UsageError(f"{word!r} is not a balance; write it like USDT=10000")
        found[asset] = amount
    return found


def _credentials(exchange: str) -> tuple[str, str]:
    if KEY in os.environ and SECRET in os.environ:
        return os.environ[KEY], os.environ[SECRET]
    if not sys.stdin.isatty():
        return sys.stdin.readline().strip(), sys.stdin.readline().strip()
    ask = f"{exchange} API"
    return str(typer.prompt(f"{ask} key", hide_input=True)), str(typer.prompt(f"{ask} secret", hide_input=True))
