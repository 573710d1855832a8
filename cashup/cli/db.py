"""`cashup db`: the database's schema."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

app = typer.Typer(help="the database's schema", no_args_is_help=True, rich_markup_mode=None)


def register(root: typer.Typer) -> None:
    """Add the commands of this file to `root`."""
    root.add_typer(app, name="db")


@app.command()
def upgrade() -> None:
    """Bring the database to the schema of this version."""
    version = _run(upgrade=True)["version"]
    typer.echo(f"the database is at version {version}")


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="one JSON document on stdout")] = False) -> None:
    """Where the database is and where it should be."""
    found = _run(upgrade=False)
    if as_json:
        typer.echo(json.dumps(found))
    else:
        typer.echo(f"at {found['version'] or 'nothing'}, this version of CashUp needs {found['needed']}")


def _run(*, upgrade: bool) -> dict[str, Any]:
    import asyncio

    from cashup.settings import load_settings
    from cashup.storage import schema
    from cashup.storage.database import create_engine
    from cashup.storage.servers import open_servers

    servers = open_servers(load_settings())

    async def work() -> dict[str, Any]:
        engine = create_engine(servers.database_url, application="db")
        try:
            if upgrade:
                await schema.upgrade(engine)
            async with engine.connect() as connection:
                return {"version": await schema.current(connection), "needed": schema.head()}
        finally:
            await engine.dispose()

    try:
        return asyncio.run(work())
    finally:
        servers.close()
