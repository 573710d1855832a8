"""`cashup user`: people, passwords and logging in."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from cashup.bootstrap import Administration

T = TypeVar("T")

app = typer.Typer(help="people, passwords and logging in", no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(help="the user's name")]
Json = Annotated[bool, typer.Option("--json", help="one JSON document on stdout")]


def register(root: typer.Typer) -> None:
    """Add the commands of this file to `root`."""
    root.add_typer(app, name="user")


@app.command()
def login(name: Name = "admin") -> None:
    """Log in to the gateway and keep the token. The password is asked for, or read from standard input."""
    from cashup.client import Client, save_token
    from cashup.clock import WallClock
    from cashup.settings import load_settings

    settings = load_settings()
    with Client(settings.gateway) as client:
        answer = client.login(name, _ask_password(f"password of {name}"))
    save_token(settings, answer["access_token"], expires_at=WallClock().now() + answer["expires_in"] * 1000)
    typer.echo(f"logged in to {settings.gateway} as {name}", err=True)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Who there is."""

    async def work(administration: Administration) -> list[dict[str, Any]]:
        return [
            {"name": user.name, "role": user.role, "disabled": user.disabled, "created_at": user.created_at}
            for user in await administration.people.all()
        ]

    users = _administer(work)
    if as_json:
        typer.echo(json.dumps(users))
        return
    for user in users:
        typer.echo(f"{user['name']:<20} {user['role']:<8} {'disabled' if user['disabled'] else ''}".rstrip())


@app.command()
def create(
    name: Name, role: Annotated[str, typer.Option(help="viewer, trader or admin")] = "viewer", as_json: Json = False
) -> None:
    """Add a user. The password is asked for, or read from standard input; an empty one has one generated."""
    from cashup.errors import UsageError
    from cashup.users.passwords import generate
    from cashup.users.roles import Role

    if role not in list(Role):
        raise UsageError(f"there is no role {role!r}; choose one of: {', '.join(Role)}")
    given = _ask_password(f"password of {name} (empty: generate one)", twice=True)
    password = given or generate()

    async def work(administration: Administration) -> None:
        await administration.people.create(name, password, Role(role), by="local")

    _administer(work)
    _report(name, None if given else password, "was added", as_json=as_json)


@app.command()
def password(name: Name, as_json: Json = False) -> None:
    """Set another password; every session of the user ends. Asked for, or read from standard input; empty generates."""
    from cashup.users.passwords import generate

    given = _ask_password(f"new password of {name} (empty: generate one)", twice=True)
    new = given or generate()

    async def work(administration: Administration) -> None:
        await administration.people.set_password(name, new, by="local")

    _administer(work)
    _report(name, None if given else new, "has a new password", as_json=as_json)


@app.command()
def disable(name: Name, undo: Annotated[bool, typer.Option("--undo", help="let them in again")] = False) -> None:
    """Shut a user out at once: sessions end, connections close, orders of their deployments are held back."""

    async def work(administration: Administration) -> None:
        change = administration.let_in if undo else administration.shut_out
        await change(name, by="local")

    _administer(work)
    typer.echo(f"{name} {'may log in again' if undo else 'is shut out'}", err=True)


@app.command()
def token(
    name: Name = "admin", save: Annotated[bool, typer.Option(help="keep it as this machine's login")] = False
) -> None:
    """Issue an access token without a password: who owns the home folder holds the signing key anyway."""
    from cashup.client import save_token
    from cashup.settings import load_settings

    async def work(administration: Administration) -> str:
        return administration.login.issue(await administration.people.get(name))

    issued = _administer(work)
    if save:
        save_token(load_settings(), issued)
    else:
        typer.echo(issued)


def _administer(work: Callable[[Administration], Awaitable[T]]) -> T:
    import asyncio

    from cashup.bootstrap import open_administration
    from cashup.settings import load_settings

    async def run() -> T:
        async with open_administration(load_settings()) as administration:
            return await work(administration)

    return asyncio.run(run())


def _ask_password(prompt: str, *, twice: bool = False) -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    return str(
        typer.prompt(prompt, default="", show_default=False, hide_input=True, confirmation_prompt=twice, err=True)
    )


def _report(name: str, generated: str | None, what: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"name": name, "password": generated}))
    elif generated is not None:
        typer.echo(f"{name} {what}: {generated} (shown this once)")
    else:
        typer.echo(f"{name} {what}")
