"""`cu.check`: all checks of one strategy."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from cashup.errors import UsageError
from cashup.markets.lake import Lake
from cashup.research.checks import determinism, lookahead, parameters, secrets, warmup
from cashup.research.checks.determinism import Elsewhere
from cashup.research.checks.subject import Subject
from cashup.research.checks.verdict import Check, Report, Verdict
from cashup.research.history import load_bars
from cashup.research.spec import RunSpec
from cashup.settings import load_settings
from cashup.strategies.bars import Bars
from cashup.strategies.notebook import load_strategy
from cashup.strategies.strategy import Strategy

NAMES = (lookahead.NAME, warmup.NAME, determinism.NAME, secrets.NAME, parameters.NAME)
QUICK = (lookahead.NAME, secrets.NAME)
QUICK_TRUNCATIONS = 6
MOST_BARS = 10_000
"""Without a start the last bars of the lake are checked: that many, or four warm-ups."""
MOST_BARS_ASKED = 2_000
"""The same for a strategy with a state, which is asked about every bar by itself, fifty times over."""


def check(
    strategy: Strategy | str | Path,
    bars: Bars | None = None,
    *,
    params: Mapping[str, Any] | None = None,
    only: Sequence[str] = (),
    quick: bool = False,
    seed: int = 0,
    spec: RunSpec | None = None,
) -> Report:
    """Is a strategy, or the notebook at a path, honest? See `NAMES` for the checks; `only` chooses some.

    `bars` are taken from the lake when they are not given: the last ones before the end that `spec` names. `quick` cuts
    a few histories and looks for secrets. A strategy that exists in memory only is checked without what needs its
    notebook (fresh processes, secrets, parameters). Raises UsageError for an unknown check, DataError for missing bars,
    and whatever the strategy itself raises on the whole history.
    """
    chosen = _chosen(only, quick)
    notebook = None if isinstance(strategy, Strategy) else Path(strategy).resolve()
    loaded = strategy if isinstance(strategy, Strategy) else load_strategy(Path(strategy), params)
    if bars is None:
        bars = recent_bars(loaded, spec or RunSpec())
    return Report(loaded.name, len(bars), _run(Subject(loaded, bars, notebook, params or {}, seed), chosen, quick))


def recent_bars(strategy: Strategy, spec: RunSpec) -> Bars:
    """The bars that `spec` names; without a start the last MOST_BARS of them."""
    bars = load_bars(Lake(load_settings().lake_path), strategy, spec)
    most = max(MOST_BARS_ASKED if strategy.stateful else MOST_BARS, 4 * strategy.warmup)
    return bars if spec.start else bars.rows(max(0, len(bars) - most), len(bars))


def _chosen(only: Sequence[str], quick: bool) -> Sequence[str]:
    for name in only:
        if name not in NAMES:
            raise UsageError(f"there is no check {name!r}; there are {', '.join(NAMES)}")
    return [name for name in NAMES if name in only] if only else (QUICK if quick else NAMES)


def _run(subject: Subject, chosen: Sequence[str], quick: bool) -> list[Check]:
    with ExitStack() as stack:
        elsewhere, done = None, dict[str, Check]()
        if determinism.NAME in chosen:
            elsewhere = Elsewhere(subject)  # starts now, and computes while the other checks do
            stack.callback(elsewhere.close)
        truncations = QUICK_TRUNCATIONS if quick else lookahead.TRUNCATIONS
        checks: dict[str, Callable[[], Check]] = {
            lookahead.NAME: lambda: lookahead.check_lookahead(subject, truncations),
            warmup.NAME: lambda: warmup.check_warmup(subject, honest=_passed(done, lookahead.NAME)),
            parameters.NAME: lambda: parameters.check_parameters(subject),
            secrets.NAME: lambda: secrets.check_secrets(subject.notebook),
            determinism.NAME: lambda: determinism.check_determinism(subject, elsewhere),  # last: it waits
        }
        for name, one in checks.items():
            if name in chosen:
                done[name] = _timed(one)
    return [done[name] for name in chosen]


def _passed(done: Mapping[str, Check], name: str) -> bool:
    return name not in done or done[name].verdict is not Verdict.FAILED


def _timed(run: Callable[[], Check]) -> Check:
    begin = time.perf_counter()
    found = run()
    return replace(found, seconds=time.perf_counter() - begin)
