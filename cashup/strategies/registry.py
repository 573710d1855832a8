"""The registry of runs: what was executed, on what, and what came of it."""

from __future__ import annotations

import secrets
import site
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import BigInteger, Column, Row, Table, Text, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import isoformat
from cashup.errors import NotFound
from cashup.storage.database import json_column, metadata, moment, transaction
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


def new_run_id(now: Millis) -> str:
    """An id that sorts by time and is easy to say: `20250131-120000-4f9a1c`."""
    return f"{isoformat(now)[:19].replace('-', '').replace(':', '').replace('T', '-')}-{secrets.token_hex(3)}"


def environment_hash() -> str:
    """A hash of the name and version of every installed package: the environment that this result came from."""
    folders = {Path(folder) for folder in [*sys.path, *site.getsitepackages()] if folder}
    names = {found.name for folder in folders if folder.is_dir() for found in folder.glob("*.dist-info")}
    python = ".".join(map(str, sys.version_info[:3]))
    return sha256("\n".join([python, *sorted(names)]).encode()).hexdigest()


async def record_run(database: AsyncEngine, run: Run) -> None:
    """Store `run`."""
    async with transaction(database) as connection:
        await connection.execute(insert(runs).values(asdict(run)))


async def list_runs(database: AsyncEngine, limit: int = 50) -> Sequence[Run]:
    """The newest runs, newest first."""
    async with database.connect() as connection:
        found = await connection.execute(select(runs).order_by(runs.c.created.desc(), runs.c.id.desc()).limit(limit))
        return [_run(row) for row in found]


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


def _run(row: Row[Any]) -> Run:
    return Run(**row._mapping)
