"""A sweep's plan: what was asked for, kept beside its trials, so that it can be gone on with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cashup.errors import NotFound
from cashup.research.spec import RunSpec
from cashup.settings import load_settings

PLAN = "sweep.json"


@dataclass(frozen=True)
class Plan:
    """What was asked for, so that it can be asked for again: ranges as text or lists, the rest as on the command line.

    `spec.run_id` names the run; `notebook_hash` is empty for a strategy that is no notebook.
    """

    ranges: Mapping[str, Any]
    spec: RunSpec
    params: Mapping[str, Any] = field(default_factory=dict)
    method: str = "grid"
    trials: int | None = None
    seed: int = 0
    objectives: Sequence[str] = ("sharpe",)
    constraints: Sequence[str] = ()
    notebook_hash: str = ""
    data_version: str = ""

    def write(self, folder: Path) -> None:
        """Keep it beside the trials."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PLAN).write_text(json.dumps({"plan": asdict(self)}, default=str, indent=1))


def read_plan(run_id: str) -> Plan:
    """The plan of a sweep that was begun; raises NotFound when there is none of that id."""
    path = folder_of(run_id) / PLAN
    if not path.is_file():
        raise NotFound(f"there is no sweep {run_id!r} to resume in {path.parent.parent}; check the id")
    told = json.loads(path.read_text())["plan"]
    return Plan(**(told | {"spec": RunSpec(**told["spec"])}))


def folder_of(run_id: str) -> Path:
    """Where a sweep keeps its trials."""
    return load_settings().home_path / "runs" / run_id
