"""`cashup init`: a folder to work in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="the project's folder; made when missing")],
) -> None:
    """Make a project: notebooks, deployments, settings, and a first strategy that runs."""
    from cashup.strategies.scaffold import new_project
    from cashup.workers.schema import schema_text

    written = new_project(folder, schema_text())
    for path in written:
        typer.echo(f"wrote {path}", err=True)
    typer.echo(f"{folder} is a project; next:")
    for command in (f"cd {folder}", "cashup data generate", "cashup backtest notebooks/first.ipynb"):
        typer.echo(f"  {command}")
