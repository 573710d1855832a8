"""What `walkforward` and `validate` share: their run spec, their folder, and their row in the registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cashup.cli.database import with_database

if TYPE_CHECKING:
    from cashup.research.spec import RunSpec
    from cashup.strategies.registry import Trial


def spec_of(*, no_funding: bool = False, **told: Any) -> RunSpec:
    """The run spec of a new run."""
    from cashup.clock import WallClock
    from cashup.research.spec import RunSpec
    from cashup.strategies.registry import new_run_id

    return RunSpec(**told, run_id=new_run_id(WallClock().now()))


def keep(spec: RunSpec, name: str, document: Mapping[str, Any], page: str) -> Path:
    """Store the report of a run as `name.json` and `name.html` in its folder; the page's path."""
    import json

    from cashup.settings import load_settings

    folder = load_settings().home_path / "runs" / str(spec.run_id)
    folder.mkdir(parents=True)
    (folder / f"{name}.json").write_text(json.dumps(document, indent=1))
    output = folder / f"{name}.html"
    output.write_text(page)
    return output


def record(
    kind: str,
    notebook: Path,
    params: Mapping[str, Any],
    spec: RunSpec,
    *,
    data_version: str,
    metrics: Mapping[str, Any],
    output: Path,
    tried: Sequence[Trial] = (),
) -> None:
    """Store the run and the trials that it made."""
    from sqlalchemy.ext.asyncio import AsyncEngine

    from cashup.clock import WallClock
    from cashup.research.recording.record import run_record
    from cashup.strategies.registry import record_run, record_trials

    about: dict[str, Any] = {
        "data_version": data_version,
        "metrics": metrics,
        "output": output,
        "created": WallClock().now(),
    }
    run = run_record(kind, notebook, params, spec, **about)

    async def store(database: AsyncEngine) -> None:
        await record_trials(database, tried)
        await record_run(database, run)

    with_database(store)
