"""`cashup runs`: the registry of runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cashup.cli.table import print_table

if TYPE_CHECKING:
    from cashup.strategies.registry import Run

app = typer.Typer(help="the registry of runs", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="one JSON document on stdout")]
RunId = Annotated[str, typer.Argument(help="the run's id, or enough of its beginning or end")]

COLUMNS = ("total_return", "sharpe", "max_drawdown", "trades")


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(help="how many", min=1)] = 20,
    notebook: Annotated[str | None, typer.Option(help="only runs of notebooks whose path holds this")] = None,
    kind: Annotated[str | None, typer.Option(help="only backtest, replay, sweep or walkforward")] = None,
    sort: Annotated[str | None, typer.Option(help="the best first by this figure, such as sharpe")] = None,
    as_json: Json = False,
) -> None:
    """The newest runs."""
    from cashup.cli.database import with_database
    from cashup.clock import isoformat
    from cashup.strategies.registry import list_runs

    found = with_database(lambda database: list_runs(database, limit, notebook=notebook, kind=kind, sort=sort))
    if as_json:
        print_json({"runs": [record(run) for run in found]})
        return
    columns = list(dict.fromkeys([*COLUMNS, *([sort] if sort else [])]))
    rows = [
        [run.id, run.kind, run.notebook, *(shown(run.metrics.get(name)) for name in columns), isoformat(run.created)]
        for run in found
    ]
    print_table(["run", "kind", "notebook", *columns, "created"], rows)


@app.command()
def show(
    run: RunId,
    html: Annotated[Path | None, typer.Option(help="write the tear sheet to this file")] = None,
    png: Annotated[Path | None, typer.Option(help="write the tear sheet as a picture to this file")] = None,
    as_json: Json = False,
) -> None:
    """One run: what it was made of, and what came of it."""
    found = _find(run)
    for path in (html, png):
        if path is not None:
            _export(found, path)
    if as_json:
        print_json(record(found))
    else:
        print_run(found)


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(help="two runs or more")],
    html: Annotated[Path | None, typer.Option(help="write their equity, one over the other, to this file")] = None,
    as_json: Json = False,
) -> None:
    """Runs side by side: what differs in what they were made of, then every figure."""
    from cashup.errors import UsageError

    found = [_find(run) for run in runs]
    if len({run.id for run in found}) < 2:
        raise UsageError("a comparison takes two runs or more; `cashup runs list` shows them")
    if html is not None:
        _overlay(found, html)
    made = {name: values for name, values in _made_of(found).items() if len(set(values)) > 1}
    names = list(dict.fromkeys(name for run in found for name in run.metrics))
    if as_json:
        figures = {name: [run.metrics.get(name) for run in found] for name in names}
        print_json({"runs": [record(run) for run in found], "differences": made, "metrics": figures})
        return
    rows = [[name, *values] for name, values in made.items()]
    rows += [[name.replace("_", " "), *(shown(run.metrics.get(name)) for run in found)] for name in names]
    print_table(["", *(run.id for run in found)], rows)


@app.command()
def rerun(run: RunId, as_json: Json = False) -> None:
    """Execute a backtest again on the data it had; exit 1 when a figure comes out otherwise."""
    from cashup.cli.database import with_database
    from cashup.clock import WallClock
    from cashup.research.recording.rerun import rerun as execute_again
    from cashup.settings import load_settings
    from cashup.strategies.registry import record_run

    made = execute_again(_find(run), load_settings(), WallClock().now())
    with_database(lambda database: record_run(database, made.again))
    if as_json:
        print_json(made.to_json())
    else:
        typer.echo(made.report())
    if not made.equal:
        raise typer.Exit(1)


def record(run: Run) -> dict[str, Any]:
    """A run as JSON shows it: the figures beside what they were made of."""
    from dataclasses import asdict

    document = asdict(run)
    return {"run_id": document.pop("id")} | document


def print_json(document: dict[str, Any]) -> None:
    """One JSON document on stdout."""
    import json

    typer.echo(json.dumps(document))


def print_run(run: Run) -> None:
    """A run for people."""
    about = [["run", run.id], *([name, value] for name, values in _made_of([run]).items() for value in values)]
    figures = [[name.replace("_", " "), shown(value)] for name, value in run.metrics.items()]
    print_table(["", ""], [*about, *figures, ["executed notebook", run.output]])


def shown(value: Any) -> str:
    """A figure for people."""
    return "-" if value is None else f"{value:,.4f}" if isinstance(value, float) else str(value)


def _made_of(runs: list[Run]) -> dict[str, list[str]]:
    """What each run was made of, by name."""
    return {
        "kind": [run.kind for run in runs],
        "notebook": [f"{run.notebook} ({run.notebook_hash[:12]})" for run in runs],
        "parameters": [_joined(run.params) or "defaults" for run in runs],
        "settings": [_joined(run.spec) for run in runs],
        "data version": [run.data_version[:12] for run in runs],
        "environment": [run.lock_hash[:12] for run in runs],
        "seed": [shown(run.seed) for run in runs],
    }


def _joined(values: Any) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items() if value is not None)


def _find(run: str) -> Run:
    from cashup.cli.database import with_database
    from cashup.strategies.registry import find_run

    return with_database(lambda database: find_run(database, run))


def _export(run: Run, path: Path) -> None:
    """The run's tear sheet as HTML or PNG, by the file's ending."""
    from cashup.markets.lake import Lake
    from cashup.research.recording.artefacts import read_result
    from cashup.settings import load_settings

    read_result(run, Lake(load_settings().lake_path)).save(path)
    typer.echo(f"wrote {path}", err=True)


def _overlay(runs: list[Run], path: Path) -> None:
    from cashup.research.recording.artefacts import read_equity
    from cashup.research.reporting.compare import overlay

    curves = {run.id: read_equity(run) for run in runs}
    path.write_text(overlay(curves).to_html(include_plotlyjs="inline"), encoding="utf-8")
    typer.echo(f"wrote {path}", err=True)


def register(root: typer.Typer) -> None:
    """Add the commands of this file to `root`."""
    root.add_typer(app, name="runs")
