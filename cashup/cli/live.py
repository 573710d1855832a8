"""`cashup live`: what runs, and keeping it running."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cashup.cli.live_report import report

if TYPE_CHECKING:
    from cashup.client import Client, Row

app = typer.Typer(
    help="deployments: what runs, start, stop, logs", no_args_is_help=True, rich_markup_mode=None, add_completion=False
)

Name = Annotated[str, typer.Argument(help="the deployment, named like its file in live/ without .toml")]
Json = Annotated[bool, typer.Option("--json", help="one JSON document on stdout")]
Folder = Annotated[Path, typer.Option(help="the folder with one .toml per deployment")]
AllowLive = Annotated[bool, typer.Option("--allow-live", help="yes, real money: deployments on live accounts too")]


def register(root: typer.Typer) -> None:
    """Add the group to the command line."""
    from cashup.cli import live_render

    app.command()(report)
    app.command()(live_render.render)
    app.command()(live_render.token)
    root.add_typer(app, name="live")


@app.command()
def up(
    folder: Folder = Path("live"),
    detach: Annotated[bool, typer.Option("--detach", help="leave the workers to a supervisor that runs")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="stop deployments that have no file any more")] = False,
    no_files: Annotated[bool, typer.Option("--no-files", help="read no files: run what is wished to run")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what differs, and change nothing")] = False,
    allow_live: AllowLive = False,
    only: Annotated[str | None, typer.Option(help="keep this deployment alone, as a pod does")] = None,
    version: Annotated[str | None, typer.Option(help="with --only: the version that lies here")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="wait while another supervisor is at work")] = False,
) -> None:
    """Say how what runs differs from the folder, make it agree, then keep it running until Ctrl-C."""
    from cashup.cli.converging import converge
    from cashup.errors import UsageError
    from cashup.settings import load_settings
    from cashup.workers.deployment import read_folder

    if no_files and (detach or prune or dry_run):
        raise UsageError("--no-files only supervises; it goes with none of --detach, --prune and --dry-run")
    if only is not None and not no_files:
        raise UsageError("--only keeps what the gateway has; it goes with --no-files")
    if only is None and version:
        raise UsageError("--version goes with --only")
    versions = load_settings().versions_path
    specs = {} if no_files else read_folder(folder, versions)
    options = {"prune": prune, "allow_live": allow_live, "dry_run": dry_run}
    with _client() as client:
        if detach or dry_run:
            converge(client, specs, versions, _say, **options)
            return
        supervisor = _supervisor(client, only, version)
        if wait:
            supervisor.wait_for_lease()
        else:
            supervisor.acquire()
        if not no_files:
            converge(client, specs, versions, _say, **options)
        supervisor.run()


@app.command()
def start(name: Name, allow_live: AllowLive = False) -> None:
    """Wish a deployment to run; the supervisor starts its worker."""
    from cashup.cli.live_checks import check_version
    from cashup.settings import load_settings

    with _client() as client:
        row = client.deployment(name)
        live = row["spec"].get("mode") == "live"
        check_version(name, row["spec"], load_settings().versions_path, _say, live=live)
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
    """Wish a deployment to stop. What becomes of its orders and positions its on_exit says; usually they stay."""
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

    header = ["deployment", "account", "version", "shall be", "is", "attempt", "restarts", "reason"]
    header += ["last decided bar", "message"]
    print_table(header, [_line(row) for row in rows])


@app.command()
def show(
    name: Name,
    folder: Folder = Path("live"),
    stored: Annotated[bool, typer.Option("--stored", help="what the gateway stores, not what the file says")] = False,
    as_json: Json = False,
) -> None:
    """Every key of a deployment with its value, and whether that is given or the default."""
    import json

    from cashup.cli.live_keys import described, keys_of_file, keys_of_spec, print_keys
    from cashup.settings import load_settings

    file = folder / f"{name}.toml"
    if stored or not file.is_file():
        with _client() as client:
            keys = keys_of_spec(client.deployment(name)["spec"])
    else:
        keys = keys_of_file(file, load_settings().versions_path)
    if as_json:
        print(json.dumps(described(name, keys)))
    else:
        print_keys(keys)


@app.command()
def schema() -> None:
    """The JSON Schema of deployment files, for an editor; a file names it in its first line."""
    from cashup.workers.schema import schema_text

    typer.echo(schema_text(), nl=False)


@app.command()
def attach(name: Name) -> None:
    """Follow a deployment as it runs, until Ctrl-C, which leaves it running."""
    import asyncio

    from cashup.cli.attach import follow, until_asked

    with _client() as client:
        asyncio.run(until_asked(follow(client, name, typer.echo)))
    _say(f"{name} goes on")


@app.command()
def logs(
    name: Name,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on until Ctrl-C")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="how many lines of the past")] = 100,
) -> None:
    """What the workers of a deployment wrote."""
    import time

    from cashup.errors import NotFound
    from cashup.settings import load_settings
    from cashup.workers.log import Follower, tail

    path = load_settings().home_path / "logs" / f"{name}.log"
    if not path.is_file():
        raise NotFound(f"{name} has no log at {path}; was it ever started on this machine?")
    follower = Follower(path) if follow else None
    sys.stdout.writelines(tail(path, lines))
    sys.stdout.flush()
    while follower is not None:
        sys.stdout.write(follower.read())
        sys.stdout.flush()
        time.sleep(0.2)


def _line(row: Row) -> list[str]:
    from cashup.clock import isoformat

    attempt, decided = row["attempt"], row["last_decided"]
    return [
        row["name"],
        row["account"],
        row["spec"].get("version", ""),
        row["desired"],
        row["state"] or "never started",
        str(attempt["number"]) if attempt else "",
        str(row["restarts"]["deaths"] or ""),
        row["reason"] or "",
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


def _supervisor(client: Client, name: str | None, version: str | None) -> Any:
    from cashup.settings import load_settings
    from cashup.workers.supervisor import Only, Supervisor

    only = None if name is None else Only(name, version)
    return Supervisor(client, load_settings(), _say, only=only)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
