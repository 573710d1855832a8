"""`cashup kill`, `cashup unkill` and `cashup flatten`: stop at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from cashup.client import Client, Row

Deployment = Annotated[str | None, typer.Option(help="this deployment")]
Account = Annotated[str | None, typer.Option(help="everything on this exchange account")]
User = Annotated[str | None, typer.Option(help="every deployment of this user")]
All = Annotated[bool, typer.Option("--all", help="everything")]
Wait = Annotated[float, typer.Option(help="seconds to watch it at most; 0 returns at once")]
Json = Annotated[bool, typer.Option("--json", help="one JSON document on stdout")]

_STEP_SECONDS = 0.1


def register(root: typer.Typer) -> None:
    """Add the commands to the command line."""
    root.command()(kill)
    root.command()(unkill)
    root.command()(flatten)


def kill(
    deployment: Deployment = None,
    account: Account = None,
    user: User = None,
    everything: All = False,
    flatten: Annotated[bool, typer.Option("--flatten", help="also sell what is held, at the market")] = False,
    external: Annotated[
        bool, typer.Option("--external", help="with --all: also cancel orders that CashUp did not make")
    ] = False,
    reason: Annotated[str, typer.Option(help="why, for those who come after you")] = "",
    wait: Wait = 60.0,
    as_json: Json = False,
) -> None:
    """Block all new orders, cancel what rests, and stay so until `cashup unkill`."""
    scope, name = _target(deployment, account, user, everything)
    with _client() as client:
        client.kill(scope, name, flatten=flatten, external=external, reason=reason)
        found = _watch(lambda: _kill_of(client, scope, name), wait, quiet=as_json)
    _finish(found, found["accounts"], as_json)


def unkill(
    deployment: Deployment = None,
    account: Account = None,
    user: User = None,
    everything: All = False,
    as_json: Json = False,
) -> None:
    """Let orders through again."""
    import json

    scope, name = _target(deployment, account, user, everything)
    with _client() as client:
        client.unkill(scope, name)
    typer.echo(json.dumps({"scope": scope, "name": name})) if as_json else _say(
        f"{name or 'everything'} may trade again"
    )


def flatten(
    deployment: Annotated[str, typer.Argument(help="the deployment")], wait: Wait = 60.0, as_json: Json = False
) -> None:
    """Cancel what rests of a deployment and sell what it holds. Its strategy may buy again: stop or kill it first."""
    with _client() as client:
        client.flatten(deployment)
        found = _watch(lambda: _alone(client.flattening(deployment)), wait, quiet=as_json)
    _finish(found["accounts"][0], found["accounts"], as_json)


def _target(deployment: str | None, account: str | None, user: str | None, everything: bool) -> tuple[str, str]:
    from cashup.errors import UsageError

    named = {"deployment": deployment, "account": account, "user": user, "all": "" if everything else None}
    chosen = [(scope, name) for scope, name in named.items() if name is not None]
    if len(chosen) != 1:
        raise UsageError("say what to kill: one of --deployment NAME, --account NAME, --user NAME or --all")
    return chosen[0]


def _client() -> Client:
    from cashup.client import Client
    from cashup.settings import load_settings

    return Client.from_settings(load_settings())


def _kill_of(client: Client, scope: str, name: str) -> Row:
    return next(kill for kill in client.kills() if (kill["scope"], kill["name"]) == (scope, name))


def _alone(sweep: Row) -> Row:
    return {"accounts": [sweep]}


def _watch(look: Callable[[], Row], seconds: float, *, quiet: bool) -> Row:
    """Look until it is done on every account, or time is up; what changes is said on the way."""
    import time

    deadline = time.monotonic() + seconds
    said: dict[str, str] = {}
    while True:
        found = look()
        for account in found["accounts"]:
            sentence = _sentence(account)
            if not quiet and said.get(account["account"]) != sentence:
                said[account["account"]] = sentence
                _say(sentence)
        if _done(found["accounts"]) or time.monotonic() >= deadline:
            return found
        time.sleep(_STEP_SECONDS)


def _sentence(account: Row) -> str:
    cancelled = sum(market["cancelled"] for market in account["markets"].values())
    errors = [f"{symbol}: {market['error']}" for symbol, market in account["markets"].items() if market["error"]]
    detail = "; ".join(filter(None, [account["message"], *errors]))
    return f"{account['account']}: {account['state']}, {cancelled} orders cancelled" + (
        f" ({detail})" if detail else ""
    )


def _done(accounts: list[Any]) -> bool:
    return all(account["state"] == "done" for account in accounts)


def _finish(found: Row, accounts: list[Any], as_json: bool) -> None:
    """Print the outcome; whatever is not done ends with an error, and the gateway goes on with it."""
    import json

    from cashup.errors import WorkFailed

    if as_json:
        typer.echo(json.dumps(found))
    if not _done(accounts):
        late = ", ".join(account["account"] for account in accounts if account["state"] != "done")
        raise WorkFailed(
            f"new orders are blocked as asked, but the work on {late} is not done; the gateway goes on with it"
        )


def _say(sentence: str) -> None:
    import sys

    typer.echo(sentence, file=sys.stderr)
