"""`cashup order place`, `cancel` and `amend`: single orders by hand, with a deployment's money and under its limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from cashup.client import Client, Row

Key = Annotated[
    str | None, typer.Option(help="yours to choose: the same key again does nothing and gives the same answer")
]
Wait = Annotated[float, typer.Option(help="seconds to wait for what becomes of it; 0 returns at once")]
Json = Annotated[bool, typer.Option("--json", help="one JSON document on stdout")]
Quantity = Annotated[str | None, typer.Option(help="in base currency, such as 0.25")]
Price = Annotated[str | None, typer.Option(help="the limit, in quote currency")]
Order = Annotated[str, typer.Argument(help="its id, ours (t-...) or the venue's")]

_STEP_SECONDS = 0.1


def register(root: typer.Typer) -> None:
    """Add the commands to the command line."""
    group = typer.Typer(help="One order by hand.", no_args_is_help=True, rich_markup_mode=None)
    group.command()(place)
    group.command()(cancel)
    group.command()(amend)
    root.add_typer(group, name="order")


def place(
    deployment: Annotated[str, typer.Argument(help="whose money and limits")],
    symbol: Annotated[str, typer.Argument(help="such as BTC/USDT")],
    side: Annotated[str, typer.Argument(help="buy or sell")],
    quantity: Quantity = None,
    cost: Annotated[str | None, typer.Option(help="of a market buy, in quote currency")] = None,
    price: Price = None,
    tif: Annotated[str | None, typer.Option(help="gtc (usual for a limit), ioc, fok, or poc (post-only)")] = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Place an order: at the market, or a limit when there is a price. Exit code 1 when it is denied."""
    given = {"symbol": symbol, "side": side, "quantity": quantity, "cost": cost, "price": price, "time_in_force": tif}
    order = {name: value for name, value in given.items() if value is not None}
    _carry_out(lambda client, used: client.place_order(deployment, order, key=used), key, 0, as_json=as_json)


def cancel(order: Order, key: Key = None, wait: Wait = 15.0, as_json: Json = False) -> None:
    """End an order. Exit code 1 when it had ended before, or the venue does not cancel it."""
    _carry_out(lambda client, used: client.cancel_order(order, key=used), key, wait, as_json=as_json)


def amend(
    order: Order,
    quantity: Annotated[str | None, typer.Option(help="all of it, what is filled included")] = None,
    price: Price = None,
    key: Key = None,
    wait: Wait = 15.0,
    as_json: Json = False,
) -> None:
    """Give an order that rests another quantity or price. Exit code 1 when it stays as it is."""
    _carry_out(
        lambda client, used: client.amend_order(order, quantity=quantity, price=price, key=used),
        key,
        wait,
        as_json=as_json,
    )


def _carry_out(ask: Callable[[Client, str], Row], key: str | None, wait: float, *, as_json: bool) -> None:
    """Ask, and ask again with the same key, which only tells how far it is, until it is done or the time is up."""
    import json
    import secrets
    import time

    from cashup.client import Client
    from cashup.settings import load_settings

    used = key or secrets.token_hex(12)
    deadline = time.monotonic() + wait
    with Client.from_settings(load_settings()) as client:
        answer = ask(client, used)
        while answer["state"] == "working" and time.monotonic() < deadline:
            time.sleep(_STEP_SECONDS)
            answer = ask(client, used)
    if as_json:
        typer.echo(json.dumps(answer))
    else:
        for ident in answer["orders"]:
            typer.echo(ident)
        for decision in answer["decisions"]:
            typer.echo(f"{decision['action']} {decision['code']}: {decision['reason']}", err=True)
        if answer["state"] == "working":
            typer.echo(f"the venue has not said yet; ask again with --key {used}", err=True)
    last = answer["decisions"][-1]["action"] if answer["decisions"] else "allow"
    if last == "deny" or answer["state"] == "working":
        raise typer.Exit(1)
