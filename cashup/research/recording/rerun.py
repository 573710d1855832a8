"""A run once more, from what the registry knows of it: equal to the last digit, or the reason why not."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cashup.errors import NotFound, UsageError
from cashup.research.recording.execution import execute
from cashup.research.recording.record import run_record, spec_of
from cashup.settings import Settings, project_root
from cashup.strategies.notebook import PARAMETERS, notebook_hash
from cashup.strategies.registry import Run, new_run_id
from cashup.types import Millis

INJECTED = "injected-parameters"
"""The tag that papermill gives the cell with a run's parameters."""


@dataclass(frozen=True, slots=True)
class Rerun:
    """A run and its repetition. `causes` are the differences in what they were made of, each a sentence."""

    original: Run
    again: Run
    causes: tuple[str, ...]
    differences: Mapping[str, tuple[Any, Any]]

    @property
    def equal(self) -> bool:
        """True when every figure is the same to the last digit."""
        return not self.differences

    def to_json(self) -> dict[str, Any]:
        """`equal run_id again causes differences` (figure -> the two values)."""
        return {
            "equal": self.equal,
            "run_id": self.original.id,
            "again": self.again.id,
            "causes": list(self.causes),
            "differences": {name: list(pair) for name, pair in self.differences.items()},
        }

    def report(self) -> str:
        """The comparison for people."""
        if self.equal:
            head = f"equal: all {len(self.original.metrics)} figures of {self.original.id} came again to the last digit"
        else:
            head = f"NOT EQUAL: {len(self.differences)} figures of {self.original.id} came out otherwise"
        lines = [f"  {name}: {before} before, {now} now" for name, (before, now) in self.differences.items()]
        said = [f"  {cause}" for cause in self.causes]
        if not self.equal and not said:
            said = ["  notebook, parameters, data, environment and seed are the same: it does not repeat itself"]
        return "\n".join([head, *lines, *said])


def rerun(run: Run, settings: Settings, now: Millis) -> Rerun:
    """Execute the backtest `run` again: same notebook, parameters, costs and data version.

    When the working copy of the notebook has changed, the source is taken from the executed notebook. Raises UsageError
    for runs that are no backtest, NotFound when the notebook is gone, and what `execute` raises.
    """
    if run.kind != "backtest":
        raise UsageError(f"run {run.id} is a {run.kind}; only backtests can be run again from the registry")
    spec = spec_of(run, run_id=new_run_id(now), data_version=run.data_version)
    with _source(run) as (notebook, causes):
        done = execute(notebook, run.params, spec, settings)
        again = run_record(
            "backtest",
            notebook,
            run.params,
            spec,
            data_version=done.result["data_version"],
            metrics=done.result["metrics"],
            output=done.output,
            created=now,
        )
    return compare_runs(run, replace(again, notebook=run.notebook), causes)


def compare_runs(run: Run, again: Run, causes: tuple[str, ...] = ()) -> Rerun:
    """Hold two runs to each other, figure by figure."""
    found = list(causes)
    if again.data_version != run.data_version:
        found.append(f"the data are others: {run.data_version[:12]} then, {again.data_version[:12]} now")
    if again.lock_hash != run.lock_hash:
        found.append("the environment is another: packages were installed or upgraded since")
    if again.seed != run.seed:
        found.append(f"the seed was {run.seed} and is {again.seed}")
    names = run.metrics.keys() | again.metrics.keys()
    differences = {
        name: (run.metrics.get(name), again.metrics.get(name))
        for name in sorted(names)
        if not _same(run.metrics.get(name), again.metrics.get(name))
    }
    return Rerun(run, again, tuple(found), differences)


def _same(one: Any, other: Any) -> bool:
    both_nan = isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other)
    return both_nan or one == other


@contextmanager
def _source(run: Run) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The notebook to execute, and what there is to say about it."""
    working = project_root() / run.notebook
    if working.is_file() and notebook_hash(working) == run.notebook_hash:
        yield working, ()
        return
    executed = Path(run.output)
    if not executed.is_file():
        raise NotFound(f"neither {working} as it was nor {executed} is there any more; run {run.id} cannot be repeated")
    # Beside the working copy when its folder is still there: what the notebook imports lies there too.
    folder = working.parent if working.parent.is_dir() else executed.parent
    restored = folder / f".{working.stem}-{run.id}.ipynb"
    restore_source(executed, restored)
    try:
        if notebook_hash(restored) != run.notebook_hash:
            raise NotFound(f"{working} has changed, and {executed} does not hold the source of run {run.id} any more")
        yield restored, (f"{working.name} has changed since; its source was taken from the executed notebook",)
    finally:
        restored.unlink()


def restore_source(executed: Path, target: Path) -> None:
    """Write the notebook that `executed` was made from: without injected cells, outputs and execution counts."""
    document = json.loads(executed.read_text(encoding="utf-8"))
    document["cells"] = [
        cell | ({"outputs": [], "execution_count": None} if cell["cell_type"] == "code" else {})
        for cell in document["cells"]
        if not _injected(cell.get("metadata", {}).get("tags", ()))
    ]
    document["metadata"].pop("papermill", None)
    target.write_text(json.dumps(document, indent=1), encoding="utf-8")


def _injected(tags: list[str]) -> bool:
    return any(tag == INJECTED or tag.startswith(("papermill-", "cashup-")) for tag in tags if tag != PARAMETERS)
