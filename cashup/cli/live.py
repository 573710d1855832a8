"""`cashup live`: what runs, and keeping it running."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from cashup.client import Client, Row

app = typer.Typer(
    help="deployments: what runs, start, stop, logs", no_args_is_help=True, rich_markup_mode=None, add_completion=False
)

Name = Annotated[str, typer.Argument(help="the deployment, named like its file in live/ without .toml")]
Json = Annotated[bool, typer.Option("--json", help="one JSON document on stdout")]
AllowLive = Annotated[bool, typer.Option("--allow-live", help="yes, real money: deployments on live accounts too")]


def register(root: typer.Typer) -> None:
    """Add the group to the command line."""
    root.add_typer(app, name="live")


@app.command()
def up(
    folder: Annotated[Path, typer.Option(help="the folder with one .toml per deployment")] = Path("live"),
    detach: Annotated[bool, typer.Option("--detach", help="leave the workers to a supervisor that runs")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="stop deployments that have no file any more")] = False,
    no_files: Annotated[bool, typer.Option("--no-files", help="read no files: run what is wished to run")] = False,
    allow_live: AllowLive = False,
) -> None:
    """Make what runs agree with the folder, then keep it running until Ctrl-C."""
    from cashup.errors import UsageError
    from cashup.workers.deployment import read_folder

    if no_files and (detach or prune):
        raise UsageError("--no-files only supervises; it goes with neither --detach nor --prune")
    specs = {} if no_files else read_folder(folder)
    with _client() as client:
        if detach:
            _apply(client, specs, prune=prune, allow_live=allow_live)
            return
        supervisor = _supervisor(client)
        supervisor.acquire()
        if not no_files:
            _apply(client, specs, prune=prune, allow_live=allow_live)
        supervisor.run()


@app.command()
def start(name: Name, allow_live: AllowLive = False) -> None:
    """Wish a deployment to run; the supervisor starts its worker."""
    with _client() as client:
        client.start(name, allow_live=allow_live)
    _say(f"{name} shall run")


@app.command()
def pause(name: Name) -> None:
    """Let a deployment follow its bars and decide nothing. What it holds stays, its orders rest."""
    with _client() as client:
        client.pause(name)
    _say(f"{name} shall pause")


@app.command()
def resume(name: Name) -> None:
    """Let a paused deployment decide again."""
    with _client() as client:
        client.resume(name)
    _say(f"{name} shall run")


@app.command()
def restart(name: Name) -> None:
    """End a deployment's worker as a stop does, and start another one of what is stored now."""
    with _client() as client:
        client.restart(name)
    _say(f"{name} shall begin another attempt")


@app.command()
def stop(
    name: Name,
    wait: Annotated[bool, typer.Option("--wait", help="until its worker has ended")] = False,
    timeout: Annotated[float, typer.Option(help="seconds to wait at most")] = 120.0,
) -> None:
    """Wish a deployment to stop. Its positions stay as they are."""
    with _client() as client:
        client.stop(name)
        _say(f"{name} shall stop")
        if wait:
            _wait_until_ended(client, name, timeout)
            _say(f"{name} has stopped")


@app.command()
def ps(as_json: Json = False) -> None:
    """Every deployment: what is wished, what is, and since when."""
    import json

    with _client() as client:
        rows = client.deployments()
    if as_json:
        print(json.dumps(rows))
        return
    from cashup.cli.table import print_table

    header = ["deployment", "account", "shall be", "is", "attempt", "last decided bar", "message"]
    print_table(header, [_line(row) for row in rows])


@app.command()
def logs(
    name: Name,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on until Ctrl-C")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="how many lines of the past")] = 100,
) -> None:
    """What the workers of a deployment wrote."""
    from cashup.errors import NotFound
    from cashup.settings import load_settings

    path = load_settings().home_path / "logs" / f"{name}.log"
    if not path.is_file():
        raise NotFound(f"{name} has no log at {path}; was it ever started on this machine?")
    with path.open(encoding="utf-8", errors="replace") as file:
        from collections import deque

        for line in deque(file, maxlen=lines):
            sys.stdout.write(line)
        sys.stdout.flush()
        if follow:
            _follow(path, file.tell())


def _follow(path: Path, position: int) -> None:
    """Print what is appended to `path`, which is replaced when it has grown too long."""
    import time

    while True:
        size = path.stat().st_size if path.exists() else 0
        if size < position:
            position = 0
        if size > position:
            with path.open(encoding="utf-8", errors="replace") as file:
                file.seek(position)
                sys.stdout.write(file.read())
                sys.stdout.flush()
                position = file.tell()
        time.sleep(0.2)


def _apply(client: Client, specs: Mapping[str, Row], *, prune: bool, allow_live: bool) -> None:
    """Store what differs, wish everything in `specs` to run, and say so."""
    _check_accounts(client, specs)
    known = {row["name"]: row for row in client.deployments()}
    for name, spec in specs.items():
        changes = _changes(known.get(name), spec)
        _say(f"{name}: {changes or 'as it was'}")
        if changes:
            client.put_deployment(name, {**spec, "allow_live": allow_live})
    for name in specs:
        if name not in known or known[name]["desired"] == "stopped":
            client.start(name, allow_live=allow_live)
    for name, row in known.items():
        if name in specs or row["desired"] == "stopped":
            continue
        if prune:
            client.stop(name)
            _say(f"{name}: has no file any more and shall stop")
        else:
            _say(f"{name}: has no file any more; it goes on (stop it with `cashup live stop {name}` or --prune)")


def _check_accounts(client: Client, specs: Mapping[str, Row]) -> None:
    """Raises DeploymentError when a deployment names an account that does not exist, before anything is stored."""
    from cashup.errors import DeploymentError
    from cashup.strategies.conduct import own_account

    known = {account["name"] for account in client.accounts()}
    known |= {own_account(name) for name in specs}  # is made when it is needed
    missing = {name: spec["account"] for name, spec in specs.items() if spec["account"] not in known}
    if missing:
        listed = ", ".join(f"{account!r} of {name}" for name, account in missing.items())
        raise DeploymentError(f"there is no account {listed}; add it with `cashup account add`, nothing was changed")


def _changes(row: Mapping[str, Any] | None, spec: Mapping[str, Any]) -> str:
    """What is new or different, for people; empty when nothing is."""
    if row is None:
        return "new"
    stored = row["spec"]
    different = [
        f"{key} {_short(stored.get(key))} -> {_short(spec.get(key))}"
        for key in dict.fromkeys([*spec, *stored])
        if stored.get(key) != spec.get(key)
    ]
    return "; ".join(different)


def _short(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}={part}" for key, part in value.items()) + "}"
    return str(value)


def _line(row: Row) -> list[str]:
    from cashup.clock import isoformat

    attempt, decided = row["attempt"], row["last_decided"]
    return [
        row["name"],
        row["account"],
        row["desired"],
        row["state"] or "never started",
        str(attempt["number"]) if attempt else "",
        isoformat(decided) if decided is not None else "",
        row["message"],
    ]


def _wait_until_ended(client: Client, name: str, timeout: float) -> None:
    import time

    from cashup.errors import WorkFailed

    end = time.monotonic() + timeout
    while client.deployment(name)["state"] in ("starting", "ready"):
        if time.monotonic() > end:
            raise WorkFailed(
                f"{name} has not stopped within {timeout:g} s; is a supervisor running? see `cashup live logs {name}`"
            )
        time.sleep(0.2)


def _client() -> Client:
    from cashup.client import Client
    from cashup.settings import load_settings

    return Client.from_settings(load_settings())


def _supervisor(client: Client) -> Any:
    from cashup.settings import load_settings
    from cashup.workers.supervisor import Supervisor

    return Supervisor(client, load_settings().home_path, _say)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
