"""`cashup new`: a notebook from a template."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="a notebook from a template", no_args_is_help=True)


@app.callback()
def _new() -> None:
    """Make something new."""


@app.command()
def strategy(
    name: Annotated[str, typer.Argument(help="the notebook's name, such as my_idea")],
    template: Annotated[str, typer.Option(help="target: one rule; portfolio: several coins; model: a classifier")] = (
        "target"
    ),
    folder: Annotated[Path | None, typer.Option(help="where to put it; default notebooks/ of the project")] = None,
) -> None:
    """Write a strategy notebook that runs as it is; an existing one is never overwritten."""
    from cashup.settings import project_root
    from cashup.strategies.scaffold import new_notebook

    path = new_notebook(folder or project_root() / "notebooks", name, template)
    typer.echo(f"wrote {path}; try `cashup backtest {path}`, or open it with `cashup lab`")


def register(root: typer.Typer) -> None:
    """Add the commands of this file to `root`."""
    root.add_typer(app, name="new")
