"""A run's row in the registry: what it was made of, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from cashup.errors import WorkFailed
from cashup.research.spec import RunSpec
from cashup.settings import Settings
from cashup.strategies.environment import environment_hash
from cashup.strategies.notebook import notebook_hash, read_parameters
from cashup.strategies.registry import Run, notebook_name
from cashup.types import Millis

NOT_RECORDED = ("result_path", "run_id", "mode")
"""What of a run spec says where a run went, and not what it was."""


def run_record(
    kind: str,
    notebook: Path,
    params: Mapping[str, Any],
    spec: RunSpec,
    *,
    data_version: str,
    metrics: Mapping[str, Any],
    output: Path,
    created: Millis,
) -> Run:
    """The run `spec.run_id` as the registry stores it."""
    return Run(
        id=str(spec.run_id),
        kind=kind,
        notebook=notebook_name(notebook),
        notebook_hash=notebook_hash(notebook),
        params=params,
        spec={name: value for name, value in asdict(spec).items() if name not in NOT_RECORDED},
        data_version=data_version,
        lock_hash=environment_hash(),
        seed=seed_of(notebook, params),
        metrics=metrics,
        output=str(output),
        created=created,
    )


def failed_record(
    kind: str,
    notebook: Path,
    params: Mapping[str, Any],
    spec: RunSpec,
    error: WorkFailed,
    settings: Settings,
    *,
    created: Millis,
) -> Run:
    """The run that ended with `error`: it has no figures but the reason, and no data version."""
    output = settings.home_path / "runs" / str(spec.run_id) / notebook.name
    metrics = {"failed": str(error)}
    return run_record(kind, notebook, params, spec, data_version="", metrics=metrics, output=output, created=created)


def spec_of(run: Run, **changes: Any) -> RunSpec:
    """The spec that `run` had, with `changes`; what another version recorded and this one does not know is left out."""
    known = {field.name for field in fields(RunSpec)}
    return RunSpec(**({name: value for name, value in run.spec.items() if name in known} | changes))


def seed_of(notebook: Path, params: Mapping[str, Any]) -> int | None:
    """The notebook's parameter `seed` as it was in this run, or None when it has none."""
    known = read_parameters(notebook)
    seed = params.get("seed", known["seed"].default if "seed" in known else None)
    return seed if isinstance(seed, int) else None
