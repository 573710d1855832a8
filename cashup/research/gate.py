"""The gate: what a strategy must show before it may trade, criterion by criterion."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from html import escape
from pathlib import Path
from typing import Any

from cashup.errors import UsageError
from cashup.strategies.symbols import did_you_mean

DEFAULTS = Path(__file__).with_name("gate.toml")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What is asked for; see gate.toml. False switches a criterion off. Ratios, not percent."""

    checks: bool
    replay: bool
    min_trades: float
    max_drawdown: float
    min_twice_costs_return: float
    min_deflated_sharpe: float
    min_walkforward_sharpe: float
    min_walkforward_efficiency: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one strategy with one set of parameters. None: it was not, or could not be, found out.

    `failed_checks` names the honesty checks that failed, `replay_differences` counts orders that the replay made
    otherwise. `walkforward_sharpe` is yearly; drawdown and returns are ratios.
    """

    data_version: str
    failed_checks: Sequence[str] | None
    replay_differences: int | None
    trades: int
    max_drawdown: float
    twice_costs_return: float | None
    deflated_sharpe: float | None
    trials: int
    walkforward_sharpe: float | None
    walkforward_efficiency: float | None


@dataclass(frozen=True, slots=True)
class Criterion:
    """One line of the gate: what was found, what is asked for, and a sentence about it."""

    name: str
    value: Any
    threshold: Any
    passed: bool
    message: str


@dataclass(frozen=True, slots=True)
class Gate:
    """The criteria in order; open when all of them are met."""

    criteria: Sequence[Criterion]

    @property
    def passed(self) -> bool:
        """True when the strategy may be promoted."""
        return all(criterion.passed for criterion in self.criteria)

    def to_json(self) -> dict[str, Any]:
        """`passed criteria`, each with `name value threshold passed message`."""
        return {"passed": self.passed, "criteria": [asdict(criterion) for criterion in self.criteria]}

    def lines(self) -> list[str]:
        """The gate for people, a line per criterion."""
        return [f"{'passed' if one.passed else 'FAILED'}  {one.name:<27} {one.message}" for one in self.criteria]

    def __repr__(self) -> str:
        return "\n".join([*self.lines(), "the gate is open" if self.passed else "the gate is shut"])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td style='color:{'#2e7d32' if one.passed else '#c62828'}'><b>{'passed' if one.passed else 'failed'}"
            f"</b></td><td>{one.name}</td><td style='text-align:left'>{escape(one.message)}</td></tr>"
            for one in self.criteria
        )
        return f"<table>{rows}</table><b>{'The gate is open.' if self.passed else 'The gate is shut.'}</b>"


def read_thresholds(path: Path | None = None) -> Thresholds:
    """The thresholds in `path` over the defaults. Raises UsageError for what is no threshold."""
    known = tomllib.loads(DEFAULTS.read_text(encoding="utf-8"))
    if path is not None:
        known |= _read(path, known)
    return Thresholds(**known)


def judge(found: Evidence, wanted: Thresholds) -> Gate:
    """Hold the evidence to the thresholds. What is not known does not pass."""
    criteria = [_checks(found), _replay(found)]
    criteria = [criterion for criterion in criteria if getattr(wanted, criterion.name)]
    for name, value, words, without in _figures(found):
        threshold = getattr(wanted, name)
        if threshold is not False:
            criteria.append(_figure(name, value, threshold, words, without))
    return Gate(criteria)


def _checks(found: Evidence) -> Criterion:
    failed = found.failed_checks
    if failed is None:
        return Criterion("checks", None, True, False, "the honesty checks were not made")
    message = f"failed: {', '.join(failed)}; `cashup check` says where" if failed else "no honesty check failed"
    return Criterion("checks", list(failed), True, not failed, message)


def _replay(found: Evidence) -> Criterion:
    count = found.replay_differences
    if count is None:
        return Criterion("replay", None, True, False, "the replay was not made")
    message = f"{count} orders differ; `cashup replay` shows them" if count else "the trading code makes the same ones"
    return Criterion("replay", count, True, count == 0, message)


_WALK = "of this notebook's newest walk-forward"
_NO_WALK = "no walk-forward of this notebook is known (`cashup walkforward` makes one)"


def _figures(found: Evidence) -> list[tuple[str, float | None, str, str]]:
    """Per criterion: its name, the figure, what the figure is, and what to say when there is none."""
    return [
        ("min_trades", found.trades, "trades", "no trade was counted"),
        ("max_drawdown", found.max_drawdown, "is the deepest drawdown", "there is no drawdown"),
        ("min_twice_costs_return", found.twice_costs_return, "is the return at twice the costs", "it has no return"),
        (
            "min_deflated_sharpe",
            found.deflated_sharpe,
            f"is the deflated Sharpe ratio after {found.trials} trials",
            "the account changes too little for a deflated Sharpe ratio",
        ),
        ("min_walkforward_sharpe", found.walkforward_sharpe, f"is the Sharpe ratio {_WALK}", _NO_WALK),
        (
            "min_walkforward_efficiency",
            found.walkforward_efficiency,
            f"is the efficiency {_WALK}",
            _NO_WALK if found.walkforward_sharpe is None else "its train windows did not grow, so it has no efficiency",
        ),
    ]


def _figure(name: str, value: float | None, threshold: float, words: str, without: str) -> Criterion:
    at_most = name.startswith("max_")
    asked = f"{'at most' if at_most else 'at least'} {threshold:g} is asked for"
    if value is None or not math.isfinite(value):
        return Criterion(name, None, threshold, False, f"{without}; {asked}")
    passed = value <= threshold if at_most else value >= threshold
    return Criterion(name, value, threshold, passed, f"{value:.4g} {words}; {asked}")


def _read(path: Path, known: dict[str, Any]) -> dict[str, Any]:
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read as a gate ({error}); it is a TOML file of thresholds") from error
    switches = {field.name for field in fields(Thresholds) if field.type == "bool"}
    for name, value in given.items():
        if name not in known:
            raise UsageError(f"{path} names {name!r}, which is no criterion; {did_you_mean(name, known)}")
        fits = isinstance(value, bool) if name in switches else value is False or _number(value)
        if not fits:
            kind = "true or false" if name in switches else "a number, or false"
            raise UsageError(f"{path} gives {name} as {value!r}; it is {kind}")
    return given


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
