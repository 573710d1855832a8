"""`cashup promote`: the gate between research and trading."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cashup.cli.judging import spec_of
from cashup.cli.options import Json, Notebook, Terms, with_terms
from cashup.cli.params import Params, ParamsCommand, read_params

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from cashup.strategies.registry import Run, Trial


@with_terms()
def promote(
    notebook: Notebook,
    param: Params = None,
    *,
    terms: Terms,
    gate: Annotated[Path | None, typer.Option(help="a TOML file of thresholds over the usual ones")] = None,
    show_gate: Annotated[bool, typer.Option("--show-gate", help="print the usual thresholds and stop")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="judge only: nothing is stored")] = False,
    as_json: Json = False,
) -> None:
    """Hold a notebook to the gate: checks, replay, costs, counted trials, walk-forward. Exit 1 when it is shut.

    When it is open, notebook, parameters, data version, environment and all findings are frozen as a version.
    """
    from cashup.cli.database import with_database
    from cashup.cli.runs import print_json
    from cashup.markets.lake import Lake
    from cashup.research.gate import DEFAULTS, read_thresholds
    from cashup.research.promotion import judged_of
    from cashup.research.promotion import promote as freeze
    from cashup.settings import load_settings
    from cashup.strategies.registry import record_version

    if show_gate:
        typer.echo(DEFAULTS.read_text(encoding="utf-8"), nl=False)
        return
    settings, wanted = load_settings(), read_thresholds(gate)
    params = read_params(notebook, param)
    spec = spec_of(**terms)
    trials, walked = with_database(lambda database: known_of(database, notebook))
    found = judged_of(notebook, params, spec, Lake(settings.lake_path), wanted, trials=trials, walked=walked)
    version = None
    if found.gate.passed and not dry_run:
        frozen = freeze(notebook, params, spec, found, settings.versions_path)
        with_database(lambda database: record_version(database, frozen))
        version = frozen.id
    if as_json:
        print_json(found.gate.to_json() | {"version": version})
    else:
        typer.echo(repr(found.gate))
        if version is not None:
            typer.echo(f"promoted as {version}")
    if not found.gate.passed:
        raise typer.Exit(1)


async def known_of(database: AsyncEngine, notebook: Path) -> tuple[list[Trial], Run | None]:
    """What the registry knows of a notebook: every trial, and the newest walk-forward of its present source."""
    from cashup.strategies.notebook import notebook_hash
    from cashup.strategies.registry import list_runs, notebook_name, trials_of_notebook

    source, name = notebook_hash(notebook), notebook_name(notebook)
    walks = await list_runs(database, 200, notebook=name, kind="walkforward")
    fitting = [run for run in walks if run.notebook_hash == source]
    return await trials_of_notebook(database, name), fitting[0] if fitting else None


def register(root: typer.Typer) -> None:
    """Add the command of this file to `root`."""
    root.command(cls=ParamsCommand)(promote)
