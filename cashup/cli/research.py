"""`cashup backtest` and `cashup runs`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from cashup.cli.params import Params, ParamsCommand, read_params
from cashup.cli.table import print_table

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from cashup.strategies.registry import Run

T = TypeVar("T")

runs_app = typer.Typer(help="the registry of runs", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="one JSON document on stdout")]


def backtest(
    notebook: Annotated[Path, typer.Argument(help="the notebook, such as notebooks/sma_cross.ipynb")],
    param: Params = None,
    start: Annotated[str | None, typer.Option(help="the first decision, such as 2025-01-01 (UTC)")] = None,
    end: Annotated[str | None, typer.Option(help="bars that open from here on are left out")] = None,
    exchange: Annotated[str, typer.Option(help="the exchange the bars were imported for")] = "gate",
    capital: Annotated[float, typer.Option(help="the equity to start with, in quote currency")] = 10_000.0,
    fee: Annotated[float, typer.Option(help="the fee of every order, as a ratio")] = 0.001,
    slippage: Annotated[float, typer.Option(help="how much worse than the open orders fill, as a ratio")] = 0.0,
    as_json: Json = False,
) -> None:
    """Execute a notebook with papermill as a backtest, and record the run."""
    import sys
    from dataclasses import asdict

    from cashup.clock import WallClock
    from cashup.research.execution import execute
    from cashup.research.spec import RunSpec
    from cashup.settings import load_settings
    from cashup.strategies.notebook import notebook_hash
    from cashup.strategies.registry import Run, environment_hash, new_run_id, record_run

    now = WallClock().now()
    params = read_params(notebook, param)
    spec = RunSpec(
        exchange=exchange, start=start, end=end, capital=capital, fee=fee, slippage=slippage, run_id=new_run_id(now)
    )
    done = execute(notebook, params, spec, load_settings(), progress=sys.stderr.isatty())
    run = Run(
        id=str(spec.run_id),
        kind="backtest",
        notebook=str(notebook),
        notebook_hash=notebook_hash(notebook),
        params=params,
        spec={name: value for name, value in asdict(spec).items() if name not in ("result_path", "run_id", "mode")},
        data_version=done.result["data_version"],
        lock_hash=environment_hash(),
        seed=seed_of(notebook, params),
        metrics=done.result["metrics"],
        output=str(done.output),
        created=now,
    )
    with_database(lambda database: record_run(database, run))
    if as_json:
        _print_json(_summary(run))
    else:
        _print_run(run)


@runs_app.command("list")
def list_(limit: Annotated[int, typer.Option(help="how many")] = 20, as_json: Json = False) -> None:
    """The newest runs."""
    from cashup.clock import isoformat
    from cashup.strategies.registry import list_runs

    found = with_database(lambda database: list_runs(database, limit))
    if as_json:
        _print_json({"runs": [_record(run) for run in found]})
        return
    rows = [
        [run.id, run.kind, run.notebook, *(_shown(run.metrics.get(name)) for name in _COLUMNS), isoformat(run.created)]
        for run in found
    ]
    print_table(["run", "kind", "notebook", *_COLUMNS, "created"], rows)


@runs_app.command()
def show(
    run: Annotated[str, typer.Argument(help="the run's id, or enough of its beginning or end")], as_json: Json = False
) -> None:
    """One run: what it was made of, and what came of it."""
    from cashup.strategies.registry import find_run

    found = with_database(lambda database: find_run(database, run))
    if as_json:
        _print_json(_record(found))
    else:
        _print_run(found)


_COLUMNS = ("total_return", "sharpe", "max_drawdown", "trades")


def seed_of(notebook: Path, params: Mapping[str, Any]) -> int | None:
    """The notebook's parameter `seed` as it was in this run, or None when it has none."""
    from cashup.strategies.notebook import read_parameters

    known = read_parameters(notebook)
    seed = params.get("seed", known["seed"].default if "seed" in known else None)
    return seed if isinstance(seed, int) else None


def with_database(work: Callable[[AsyncEngine], Awaitable[T]]) -> T:
    """Do `work` on the configured database, or the embedded one; brings its schema up first."""
    import asyncio

    from cashup.settings import load_settings
    from cashup.storage import schema
    from cashup.storage.database import create_engine
    from cashup.storage.servers import open_servers

    settings = load_settings()
    servers = open_servers(settings)

    async def connected() -> T:
        database = create_engine(servers.database_url, application="cashup-cli", pool_size=1)
        try:
            await schema.prepare(database, ours=servers.embedded is not None and settings.database_url is None)
            return await work(database)
        finally:
            await database.dispose()

    try:
        return asyncio.run(connected())
    finally:
        servers.close()


def _summary(run: Run) -> dict[str, Any]:
    names = ("total_return", "sharpe", "max_drawdown", "trades", "final_equity")
    return {name: run.metrics[name] for name in names} | {
        "notebook_hash": run.notebook_hash,
        "data_version": run.data_version,
        "run_id": run.id,
        "output": run.output,
    }


def _record(run: Run) -> dict[str, Any]:
    """A run as JSON shows it: the figures beside what they were made of."""
    from dataclasses import asdict

    record = asdict(run)
    return {"run_id": record.pop("id")} | record


def _print_json(document: dict[str, Any]) -> None:
    import json

    typer.echo(json.dumps(document))


def _print_run(run: Run) -> None:
    about = [
        ["run", run.id],
        ["notebook", f"{run.notebook} ({run.notebook_hash[:12]})"],
        ["parameters", ", ".join(f"{name}={value}" for name, value in run.params.items()) or "defaults"],
        ["settings", ", ".join(f"{name}={value}" for name, value in run.spec.items() if value is not None)],
        ["data version", run.data_version[:12]],
    ]
    figures = [[name.replace("_", " "), _shown(value)] for name, value in run.metrics.items()]
    print_table(["", ""], [*about, *figures, ["executed notebook", run.output]])


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4f}" if isinstance(value, float) else str(value)


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    app.command(cls=ParamsCommand)(backtest)
    app.add_typer(runs_app, name="runs")
