"""`cashup versions`: what was frozen to run, and what it was judged on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from cashup.strategies.versions import Version

app = typer.Typer(help="frozen versions: list, show", no_args_is_help=True, rich_markup_mode=None, add_completion=False)
Json = Annotated[bool, typer.Option("--json", help="one JSON document on stdout")]


def register(root: typer.Typer) -> None:
    """Add the group to the command line."""
    root.add_typer(app, name="versions")


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Every version, newest first, verified."""
    import json

    from cashup.cli.table import print_table
    from cashup.settings import load_settings
    from cashup.strategies.versions import list_versions

    rows = [_row(version) for version in list_versions(load_settings().versions_path)]
    if as_json:
        print(json.dumps({"versions": rows}))
        return
    names = ("version", "kind", "notebook", "created_at", "params")
    print_table(
        ["version", "kind", "notebook", "frozen", "parameters"], [[_cell(n, row) for n in names] for row in rows]
    )


@app.command()
def show(
    version: Annotated[str, typer.Argument(help="its id, as `cashup promote` or `cashup live up` named it")],
    as_json: Json = False,
) -> None:
    """What a version is made of, and what it was judged on. Exit 1 when it was tampered with."""
    import json

    from cashup.settings import load_settings
    from cashup.strategies.versions import read_version

    found = read_version(load_settings().versions_path, version)
    if as_json:
        print(json.dumps({**found.document, "path": str(found.path)}))
    else:
        _print(found)


def _row(version: Version | str) -> dict[str, Any]:
    if isinstance(version, str):
        return {"version": version, "kind": "TAMPERED", "notebook": "", "created_at": None, "params": {}}
    names = ("version", "kind", "notebook", "created_at", "params", "notebook_hash", "lock_hash", "content_hash")
    return {name: version.document[name] for name in names}


def _cell(name: str, row: dict[str, Any]) -> str:
    from cashup.clock import isoformat

    if name == "created_at":
        return "" if row[name] is None else isoformat(row[name])
    if name == "params":
        return ", ".join(f"{key}={value}" for key, value in row[name].items())
    return str(row[name])


def _print(version: Version) -> None:
    from cashup.clock import isoformat
    from cashup.strategies.environment import environment_hash

    document = version.document
    here = "the one here" if version.lock_hash == environment_hash() else "other packages than are installed here"
    lines = {
        "version": f"{version.id}, {version.kind} {isoformat(version.created_at)}",
        "notebook": str(version.path),
        "sources": version.notebook_hash,
        "parameters": ", ".join(f"{name}={value}" for name, value in version.params.items()) or "the notebook's own",
        "data": str(document.get("data_version") or "-"),
        "environment": f"{version.lock_hash} ({here})",
        "content": version.content_hash,
    }
    for name, value in lines.items():
        typer.echo(f"{name:<12}{value}")
    for one in document.get("gate", {}).get("criteria", ()):
        typer.echo(f"{'passed' if one['passed'] else 'FAILED':<12}{one['name']}: {one['message']}")
    for one in document.get("checks", {}).get("checks", ()):
        typer.echo(f"{one['verdict']:<12}{one['name']}: {one['message']}")
