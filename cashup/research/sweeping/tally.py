"""Counting: every trial of a sweep goes into the registry, because the number of tries says what the best is worth."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

from cashup.research.sweeping.judge import Trial
from cashup.settings import load_settings
from cashup.storage import schema
from cashup.storage.database import create_engine
from cashup.storage.servers import open_servers
from cashup.strategies import registry
from cashup.strategies.notebook import notebook_hash
from cashup.strategies.strategy import Strategy

BATCH = 1_000
"""Rows that are stored at once."""

Source = Path | Strategy | Callable[[Mapping[str, Any]], Strategy]


def count(source: Source, run_id: str, trials: Sequence[Trial], run: registry.Run | None = None) -> None:
    """Store `trials` of the sweep `run_id` (what is stored already stays), and `run` when the sweep is done.

    Opens the configured database, or the embedded one. Works inside a running event loop too, as in a notebook.
    """
    if not trials:
        return
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(_store(_rows(source, run_id, trials), run))).result()


def name_of(source: Source) -> tuple[str, str]:
    """The notebook that is swept, and the hash of what was: the open notebook for a strategy made in it."""
    if isinstance(source, Path):
        return registry.notebook_name(source), notebook_hash(source)
    target = source.target if isinstance(source, Strategy) else source
    try:
        text = inspect.getsource(target)
    except (OSError, TypeError):
        text = repr(getattr(target, "__code__", target))
    name = source.name if isinstance(source, Strategy) else getattr(source, "__name__", "strategy")
    return os.environ.get("JPY_SESSION_NAME", name), sha256(text.encode()).hexdigest()


def _rows(source: Source, run_id: str, trials: Sequence[Trial]) -> list[registry.Trial]:
    notebook, digest = name_of(source)
    return [
        registry.Trial(run_id, trial.number, notebook, digest, trial.params, {"status": trial.status, **trial.metrics})
        for trial in trials
    ]


async def _store(rows: Sequence[registry.Trial], run: registry.Run | None) -> None:
    settings = load_settings()
    servers = open_servers(settings)
    database = create_engine(servers.database_url, application="cashup-sweep", pool_size=1)
    try:
        await schema.prepare(database, ours=servers.embedded is not None and settings.database_url is None)
        for first in range(0, len(rows), BATCH):
            await registry.record_trials(database, rows[first : first + BATCH])
        if run is not None:
            await registry.record_run(database, run)
    finally:
        await database.dispose()
        servers.close()
