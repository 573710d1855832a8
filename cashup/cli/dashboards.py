"""`cashup dashboards`: the dashboards as a process of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

OVERVIEW = Path("dashboards") / "overview.ipynb"


def dashboards(
    notebook: Annotated[Path, typer.Argument(help="the notebook to show")] = OVERVIEW,
    host: Annotated[str | None, typer.Option(help="the address to listen on; default from the settings")] = None,
    port: Annotated[int | None, typer.Option(help="the port; 0 takes a free one; default from the settings")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document on stdout when it listens")] = False,
) -> None:
    """Serve a dashboard behind the gateway's login until it is stopped."""
    from cashup.dashboards.server import serve
    from cashup.errors import UsageError
    from cashup.settings import load_settings

    if not notebook.is_file():
        raise UsageError(f"there is no notebook {notebook}; run this in the project's folder or name one")
    settings = load_settings()

    def announce(url: str) -> None:
        typer.echo(json.dumps({"url": url}) if as_json else f"dashboards at {url}")

    serve(
        notebook,
        host=host or settings.host,
        port=settings.dashboard_port if port is None else port,
        keys=settings.home_path / "keys",
        gateway=settings.gateway,
        announce=announce,
    )
