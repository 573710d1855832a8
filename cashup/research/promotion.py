"""Everything the gate asks of a notebook: its checks, replay, costs, counted trials and walk-forward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cashup.errors import UsageError
from cashup.markets.lake import Lake
from cashup.research.checks.run import check
from cashup.research.checks.verdict import Report
from cashup.research.gate import Evidence, Gate, Thresholds, judge, read_thresholds
from cashup.research.recording.record import NOT_RECORDED
from cashup.research.replay import ReplayReport, replay_report
from cashup.research.spec import RunSpec, run_spec
from cashup.research.validating.validation import deflated_of
from cashup.settings import load_settings
from cashup.strategies.notebook import load_strategy
from cashup.strategies.registry import Run, Trial
from cashup.strategies.strategy import Strategy
from cashup.strategies.versions import PROMOTED, Version, freeze, unjudged

if TYPE_CHECKING:
    from cashup.research.validating.walkforward import WalkForward


def gate(
    strategy: Strategy,
    *,
    tried: Sequence[float] = (),
    walk: WalkForward | None = None,
    thresholds: str | Path | None = None,
    **arguments: Any,
) -> Gate:
    """Hold a strategy to the gate, in a notebook; `arguments` are those of `cu.run`.

    `tried` are the yearly Sharpe ratios of all that was tried (a sweep's `frame["sharpe"]`), `walk` is what
    `cu.walkforward` gave, `thresholds` a TOML file over the usual ones. Raises what `cu.run` raises.
    """
    spec = run_spec(**arguments)
    report = replay_report(strategy, Lake(load_settings().lake_path), spec)
    checked = check(strategy, spec=spec)
    trials = [Trial("", number, "", "", {}, {"sharpe": float(ratio)}) for number, ratio in enumerate(tried)]
    walked = {} if walk is None else walk.metrics() | {"efficiency": walk.efficiency}
    found = _evidence(report, checked, trials, walked)
    return judge(found, read_thresholds(None if thresholds is None else Path(thresholds)))


@dataclass(frozen=True, slots=True)
class Judged:
    """What was found of a notebook: the evidence, the honesty checks in full, and the gate's criteria."""

    evidence: Evidence
    checks: Report
    gate: Gate


def judged_of(
    notebook: Path,
    params: Mapping[str, Any],
    spec: RunSpec,
    lake: Lake,
    wanted: Thresholds,
    *,
    trials: Sequence[Trial] = (),
    walked: Run | None = None,
) -> Judged:
    """Check, replay and judge the notebook with `params` on the bars that `spec` names, by the thresholds `wanted`.

    `trials` are all that the registry has counted for the notebook, `walked` is its newest walk-forward. Raises
    DataError, NotebookError or WorkFailed when the notebook cannot even be run.
    """
    report = replay_report(load_strategy(notebook, params), lake, spec)
    checked = check(notebook, params=dict(params), spec=spec)
    found = _evidence(report, checked, trials, {} if walked is None else walked.metrics)
    return Judged(found, checked, judge(found, wanted))


def _evidence(report: ReplayReport, checked: Report, trials: Sequence[Trial], walked: Mapping[str, Any]) -> Evidence:
    tested = report.backtest
    figures = tested.metrics()
    try:
        deflated = deflated_of(tested, trials).dsr
    except UsageError:  # too few days or trials: not known
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
        walkforward_sharpe=walked.get("sharpe"),
        walkforward_efficiency=walked.get("efficiency"),
    )


def promote(notebook: Path, params: Mapping[str, Any], spec: RunSpec, judged: Judged, folder: Path) -> Version:
    """Store the notebook with all it was judged on, and what came of that, under `folder` as a promoted version.

    A version is never changed: the same notebook, parameters, data and environment are the same version.
    """
    made_of = unjudged(notebook, params) | {
        "spec": {name: value for name, value in asdict(spec).items() if name not in NOT_RECORDED},
        "data_version": judged.evidence.data_version,
    }
    findings = {"gate": judged.gate.to_json(), "checks": judged.checks.to_json()}
    return freeze(notebook, made_of, folder, kind=PROMOTED, findings=findings)
