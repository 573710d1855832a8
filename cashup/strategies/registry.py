"""The registry of runs: what was executed, on what, and what came of it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Integer,
    Row,
    Table,
    Text,
    UnaryExpression,
    case,
    func,
    insert,
    select,
)
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import isoformat
from cashup.errors import Conflict, NotFound
from cashup.settings import project_root
from cashup.storage.database import json_column, metadata, moment, transaction
from cashup.strategies.versions import Version
from cashup.types import Millis

runs = Table(
    "runs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("notebook", Text, nullable=False),
    Column("notebook_hash", Text, nullable=False),
    json_column("params"),
    json_column("spec"),
    Column("data_version", Text, nullable=False),
    Column("lock_hash", Text, nullable=False),
    Column("seed", BigInteger),
    json_column("metrics"),
    Column("output", Text, nullable=False),
    moment("created", index=True),
)

trials = Table(
    "trials",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("notebook", Text, nullable=False, index=True),
    Column("notebook_hash", Text, nullable=False),
    json_column("params"),
    json_column("metrics"),
)
"""What a sweep or a walk-forward has tried. A row may be there before its run is: a sweep is recorded as it goes."""

versions = Table(
    "versions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("notebook", Text, nullable=False),
    Column("notebook_hash", Text, nullable=False),
    json_column("params"),
    Column("data_version", Text, nullable=False),
    Column("lock_hash", Text, nullable=False),
    Column("content_hash", Text, nullable=False),
    moment("created"),
)
"""What has passed the gate. Its files are in the home; here is what they are known by, so that none can be forged."""


@dataclass(frozen=True, slots=True)
class Run:
    """One finished run. `params` are what the notebook was given, `spec` what the run was given, `created` is in ms."""

    id: str
    kind: str
    notebook: str
    notebook_hash: str
    params: Mapping[str, Any]
    spec: Mapping[str, Any]
    data_version: str
    lock_hash: str
    seed: int | None
    metrics: Mapping[str, Any]
    output: str
    created: Millis


@dataclass(frozen=True, slots=True)
class Trial:
    """One set of parameters that was tried, as number `number` of the run `run_id`, and the figures it gave."""

    run_id: str
    number: int
    notebook: str
    notebook_hash: str
    params: Mapping[str, Any]
    metrics: Mapping[str, Any]


def notebook_name(path: Path) -> str:
    """How the registry calls a notebook: its path within the project, from wherever it is asked."""
    whole, root = path.resolve(), project_root()
    return str(whole.relative_to(root)) if whole.is_relative_to(root) else str(whole)


def new_run_id(now: Millis) -> str:
    """An id that sorts by time and is easy to say: `20250131-120000-4f9a1c`."""
    return f"{isoformat(now)[:19].replace('-', '').replace(':', '').replace('T', '-')}-{secrets.token_hex(3)}"


async def record_run(database: AsyncEngine, run: Run) -> None:
    """Store `run`."""
    async with transaction(database) as connection:
        await connection.execute(insert(runs).values(asdict(run)))


async def list_runs(
    database: AsyncEngine,
    limit: int = 50,
    *,
    notebook: str | None = None,
    kind: str | None = None,
    sort: str | None = None,
) -> Sequence[Run]:
    """The newest runs, newest first, or by the figure `sort`, the best first (a drawdown is better when smaller).

    `notebook` is a part of the notebook's path. Runs that lack the figure come last.
    """
    wanted = select(runs).order_by(*_order(sort), runs.c.created.desc(), runs.c.id.desc()).limit(limit)
    if notebook is not None:
        wanted = wanted.where(runs.c.notebook.contains(notebook, autoescape=True))
    if kind is not None:
        wanted = wanted.where(runs.c.kind == kind)
    async with database.connect() as connection:
        return [_run(row) for row in await connection.execute(wanted)]


async def find_run(database: AsyncEngine, run_id: str) -> Run:
    """The run with this id, or the only one whose id begins or ends so; raises NotFound otherwise."""
    async with database.connect() as connection:
        rows = (
            await connection.execute(
                select(runs).where(
                    runs.c.id.startswith(run_id, autoescape=True) | runs.c.id.endswith(run_id, autoescape=True)
                )
            )
        ).all()
    exact = [row for row in rows if row.id == run_id] or rows
    if len(exact) != 1:
        what = f"{len(exact)} runs fit {run_id!r}; name more of it" if exact else f"there is no run {run_id!r}"
        raise NotFound(f"{what}; `cashup runs list` shows them")
    return _run(exact[0])


async def record_trials(database: AsyncEngine, made: Sequence[Trial]) -> None:
    """Store trials; one that is stored already stays as it is, so that a resumed sweep counts each once."""
    if not made:
        return
    async with transaction(database) as connection:
        await connection.execute(postgresql_insert(trials).on_conflict_do_nothing(), [asdict(trial) for trial in made])


async def trials_of_run(database: AsyncEngine, run_id: str) -> list[Trial]:
    """The trials of one run, by number."""
    async with database.connect() as connection:
        found = await connection.execute(select(trials).where(trials.c.run_id == run_id).order_by(trials.c.number))
        return [Trial(**row._mapping) for row in found]


async def trials_of_notebook(database: AsyncEngine, notebook: str) -> list[Trial]:
    """Every set of parameters that was ever tried with the notebook at this path, each once: sweeps and single runs."""
    async with database.connect() as connection:
        swept = await connection.execute(
            select(trials).where(trials.c.notebook == notebook).order_by(trials.c.run_id, trials.c.number)
        )
        single = await connection.execute(
            select(runs).where(runs.c.notebook == notebook, runs.c.kind == "backtest").order_by(runs.c.id)
        )
        tried = [Trial(**row._mapping) for row in swept]
        tried += [Trial(row.id, 0, row.notebook, row.notebook_hash, row.params, row.metrics) for row in single]
    return list({_key(trial): trial for trial in tried}.values())


async def record_version(database: AsyncEngine, version: Version) -> None:
    """Put a promoted version on record; one that is there stays as it is. Raises Conflict when its content differs."""
    names = ("notebook", "notebook_hash", "params", "data_version", "lock_hash", "content_hash")
    row = {"id": version.id, "created": version.created_at, **{name: version.document[name] for name in names}}
    async with transaction(database) as connection:
        await connection.execute(postgresql_insert(versions).values(row).on_conflict_do_nothing())
    known = await version_on_record(database, version.id)
    if known != version.content_hash:
        raise Conflict(f"version {version.id} is on record with other findings; restore its folder from a backup")


async def version_on_record(database: AsyncEngine, ident: str) -> str | None:
    """The content hash of a promoted version; None when nothing of that id was ever promoted."""
    async with database.connect() as connection:
        return (
            await connection.execute(select(versions.c.content_hash).where(versions.c.id == ident))
        ).scalar_one_or_none()


def _order(sort: str | None) -> list[UnaryExpression[Any]]:
    if sort is None:
        return []
    # Only a number is cast: a figure that is text or missing must not make the query fail.
    figure = case((func.jsonb_typeof(runs.c.metrics[sort]) == "number", runs.c.metrics[sort].astext.cast(Double)))
    return [(figure.asc() if "drawdown" in sort else figure.desc()).nulls_last()]


def _key(trial: Trial) -> str:
    return json.dumps([trial.notebook_hash, trial.params], sort_keys=True, default=str)


def _run(row: Row[Any]) -> Run:
    return Run(**row._mapping)
