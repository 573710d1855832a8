"""Everything the gate asks of a notebook: its checks, replay, costs, counted trials and walk-forward."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from cashup.errors import UsageError
from cashup.markets.lake import Lake
from cashup.research.checks import check
from cashup.research.gate import Evidence, Gate
from cashup.research.record import NOT_RECORDED
from cashup.research.replay import replay_report
from cashup.research.spec import RunSpec
from cashup.research.validation import deflated_of
from cashup.strategies.notebook import load_strategy, notebook_hash
from cashup.strategies.registry import Run, Trial, environment_hash


def evidence_of(
    notebook: Path,
    params: Mapping[str, Any],
    spec: RunSpec,
    lake: Lake,
    *,
    trials: Sequence[Trial] = (),
    walked: Run | None = None,
) -> Evidence:
    """Check, replay and judge the notebook with `params` on the bars that `spec` names.

    `trials` are all that the registry has counted for the notebook, `walked` is its newest walk-forward. Raises
    DataError, NotebookError or WorkFailed when the notebook cannot even be run.
    """
    report = replay_report(load_strategy(notebook, params), lake, spec)
    tested = report.backtest
    figures = tested.metrics()
    checked = check(notebook, params=params, spec=spec)
    try:
        deflated = deflated_of(tested, trials).dsr
    except UsageError:
        deflated = None
    return Evidence(
        data_version=tested.data_version,
        failed_checks=[failed.name for failed in checked.failed],
        replay_differences=0 if report.parity.equal else max(len(report.parity.differences), 1),
        trades=int(figures["trades"] or 0),
        max_drawdown=float(figures["max_drawdown"] or 0.0),
        twice_costs_return=tested.twice_costs.metrics()["total_return"],
        deflated_sharpe=deflated,
        trials=max(len(trials), 1),
        walkforward_sharpe=None if walked is None else walked.metrics.get("sharpe"),
        walkforward_efficiency=None if walked is None else walked.metrics.get("efficiency"),
    )


def freeze(
    notebook: Path, params: Mapping[str, Any], spec: RunSpec, data_version: str, gate: Gate, folder: Path
) -> str:
    """Store the notebook with all it was judged on under `folder`; the version's id, a hash of that.

    A version is never changed: the same notebook, parameters, data and environment are the same version.
    """
    made_of = {
        "notebook": notebook.name,
        "notebook_hash": notebook_hash(notebook),
        "params": dict(params),
        "spec": {name: value for name, value in asdict(spec).items() if name not in NOT_RECORDED},
        "data_version": data_version,
        "lock_hash": environment_hash(),
    }
    version = sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:12]
    place = folder / version
    if not place.is_dir():
        partial = folder / f".{version}"
        partial.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(notebook, partial / notebook.name)
        text = json.dumps({"version": version, **made_of, "gate": gate.to_json()}, indent=1)
        (partial / "version.json").write_text(text, encoding="utf-8")
        partial.rename(place)
    return version
