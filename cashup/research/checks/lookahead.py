"""Look-ahead: a target may not change when the bars after it are taken away, or are others.

Three ways, each on a strategy that has seen nothing else before: the history is cut off at random bars and at bars of
decisions, with everything that the target reaches cut off at the same time; the future is replaced by others of the
same length; and the target's reading of files is watched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cashup.clock import isoformat
from cashup.errors import NotebookError, UsageError, WorkFailed
from cashup.research.checks.futures import FUTURES, with_future
from cashup.research.checks.outputs import Outputs, decision_rows, differences, differing
from cashup.research.checks.reach import cut_off
from cashup.research.checks.source import AHEAD, RESAMPLE, WHOLE, Suspect, passed_to_known, suspects
from cashup.research.checks.sources import ending_at
from cashup.research.checks.subject import Subject
from cashup.research.checks.verdict import Check, Evidence, Verdict
from cashup.strategies.strategy import Strategy

NAME = "lookahead"
TRUNCATIONS = 24
FUTURE_MOMENTS = 2
LOADS = 4
"""How often a notebook that reads data in its cells is executed as if it were an earlier day."""

MOST_EVIDENCE = 5
FEW = 0.02
"""Differences that all lie within this share of the history before its end come from a few bars ahead."""


@dataclass(slots=True)
class Finding:
    """What one shorter or other history changed."""

    stop: int
    evidence: list[Evidence]
    reach: int
    names: Sequence[str] = ()
    error: str | None = None


def check_lookahead(subject: Subject, truncations: int = TRUNCATIONS) -> Check:
    """Recompute on histories that end earlier or go on differently; fails when a target of the past changes."""
    first = subject.warmup
    if len(subject.bars) < first + 20:
        few = f"{len(subject.bars)} bars are too few to cut; give at least {first + 20}"
        return Check(NAME, Verdict.SKIPPED, few)
    full = subject.full
    moments = choose_moments(subject, full, truncations)
    findings = [
        *_cut(subject, full, moments),
        *_replaced(subject, full, moments),
        *_loaded_then(subject, full, moments[:: max(len(moments) // LOADS, 1)]),
    ]
    found = [finding for finding in findings if finding.evidence]
    accesses = _accesses(subject)
    if not found and not accesses:
        tried = f"{len(moments)} shorter histories and {FUTURE_MOMENTS * len(FUTURES)} other futures"
        return Check(NAME, Verdict.PASSED, f"targets do not depend on later bars ({tried})")
    if not found and not any(access.cause.startswith("reads data") for access in accesses):
        return Check(NAME, Verdict.WARNING, "the target reads files that cannot be cut off at a bar", accesses)
    evidence = [*_explained(subject, found), *accesses]
    what = f"a target depends on later bars: {len(found)} of {len(findings)} histories change it"
    return Check(NAME, Verdict.FAILED, what if found else "the target reads data by itself", evidence[:MOST_EVIDENCE])


def choose_moments(subject: Subject, full: Outputs, count: int) -> list[int]:
    """Lengths of shorter histories, ascending: half of them end at decisions or right before one, the rest anywhere.

    Never shorter than the warm-up and the first decision.
    """
    total = len(subject.bars)
    decided = np.flatnonzero(~np.isnan(full["target"]).all(axis=1))
    begin = max(subject.warmup, int(decided[0]) if len(decided) else 0) + 1
    if begin >= total:
        return []
    random = np.random.default_rng(subject.seed)
    decisions = decision_rows(full["target"], begin)
    ends = np.concatenate([decisions, decisions + 1])
    ends = ends[(ends > begin) & (ends < total)]
    chosen = random.choice(ends, min(len(ends), count // 2), replace=False) if len(ends) else ends
    rest = random.integers(begin, total, max(count - len(chosen), 1))
    return sorted({int(moment) for moment in [*chosen, *rest]})


def _cut(subject: Subject, full: Outputs, moments: Sequence[int]) -> list[Finding]:
    # Ascending, on one strategy that has seen no more than the shorter ones: what it remembers is never the future.
    strategy = subject.fresh()
    return [_cut_at(subject, strategy, full, stop) for stop in moments]


def _cut_at(subject: Subject, strategy: Strategy, full: Outputs, stop: int) -> Finding:
    shorter = subject.bars.rows(0, stop)
    with cut_off(strategy, subject.bars, stop, passed_to_known(strategy)) as names:
        try:
            other = subject.call(strategy, shorter)
        except NotebookError as error:
            if "nothing but NaN" not in str(error):
                return _raised(subject, stop, error)
            other = {name: np.full_like(values[:stop], np.nan) for name, values in full.items()}
        except Exception as error:  # noqa: BLE001  the author's code: anything can come, and it is the finding
            return _raised(subject, stop, error)
    return _compared(subject, full, other, stop, sorted(set(names)))


def _raised(subject: Subject, stop: int, error: Exception) -> Finding:
    bar = isoformat(int(subject.bars.times[stop - 1]))
    text = f"{type(error).__name__}: {error}"
    cause = f"on the first {stop} bars alone the strategy raises {text}"
    evidence = Evidence(cause, bar, ", ".join(subject.bars.symbols), "a target", "an error", history=bar)
    return Finding(stop, [evidence], 0, error=text)


def _replaced(subject: Subject, full: Outputs, moments: Sequence[int]) -> list[Finding]:
    """The futures after a third and two thirds of the chosen moments."""
    if not moments:
        return []
    strategy = subject.fresh()
    findings = []
    for stop in {moments[len(moments) // 3], moments[2 * len(moments) // 3]}:
        for make in FUTURES:
            bars = with_future(subject.bars, stop, make, subject.seed)
            other = subject.call(strategy, bars)
            findings.append(_compared(subject, full, other, stop, ()))
    return findings


def _loaded_then(subject: Subject, full: Outputs, moments: Sequence[int]) -> Iterator[Finding]:
    """The notebook executed with data that end where the history ends: its cells may know no more than its target."""
    if subject.notebook is None:
        return
    for stop in moments:
        with ending_at(int(subject.bars.times[stop - 1]) + subject.strategy.bar_millis) as read:
            try:
                strategy = subject.fresh()
            except (WorkFailed, UsageError):
                return  # the cells need all of their data; what the target reaches was cut off anyway
            if not read:
                return
        with cut_off(strategy, subject.bars, stop, passed_to_known(strategy)):
            try:
                other = subject.call(strategy, subject.bars.rows(0, stop))
            except Exception:  # noqa: BLE001  the author's code, without data that it expects
                return
        yield _compared(subject, full, other, stop, (f"what a cell loads with {', '.join(sorted(set(read)))}",))


def _compared(subject: Subject, full: Outputs, other: Outputs, stop: int, names: Sequence[str]) -> Finding:
    first = subject.warmup
    evidence = list(differences(full, other, subject.bars, first=first, stop=stop, cause=""))
    reach = 0
    for name, values in full.items():
        rows = np.flatnonzero(differing(values[first:stop], other[name][first:stop]).any(axis=1))
        reach = max(reach, stop - first - int(rows[0]) if len(rows) else 0)
    return Finding(stop, evidence, reach, names)


def _accesses(subject: Subject) -> list[Evidence]:
    return [
        Evidence(
            cause=f"reads {'data' if access.data else 'a file'} inside the target: {access.what}; load it in a cell "
            "before, and join it with bars.known()"
        )
        for access in subject.accesses
    ]


def _explained(subject: Subject, found: Sequence[Finding]) -> list[Evidence]:
    """The evidence with the likely cause: one line of each finding, the latest histories first."""
    if not found:
        return []
    cause = _cause(subject, found)
    return [
        replace(one, cause=one.cause or cause)
        for finding in reversed(found[-MOST_EVIDENCE:])
        for one in finding.evidence
    ]


def _cause(subject: Subject, found: Sequence[Finding]) -> str:
    names = sorted({name for finding in found for name in finding.names})
    if names and _only_through(subject, found, names):
        return f"the target reads {', '.join(names)}, which goes beyond the bar"
    reaches = [finding.reach for finding in found if finding.error is None]
    reach = max(reaches, default=0)
    local = reach <= max(FEW * len(subject.bars), 1)
    suspected = suspects(subject.strategy)
    order = (AHEAD, RESAMPLE, WHOLE) if local else (WHOLE, AHEAD, RESAMPLE)
    pattern = f"the last {reach} bars before the end change" if local else "bars far before the end change"
    for kind in order:
        likely = [suspect for suspect in suspected if suspect.kind == kind]
        if likely:
            return f"{pattern}; likely {_place(likely[0])}"
    return f"{pattern}; " + ("values of later bars are used" if local else "a figure of the whole frame is used")


def _place(suspect: Suspect) -> str:
    code = " ".join(suspect.code.split())[:90]
    return f"line {suspect.line} `{code}`: {suspect.reason}"


def _only_through(subject: Subject, found: Sequence[Finding], names: Sequence[str]) -> bool:
    """True when a shorter history alone changes nothing: the future came through what the target reaches."""
    finding = found[-1]
    cut = [one for one in found if one.names]
    finding = cut[-1] if cut else finding
    try:
        other = subject.call(subject.strategy, subject.bars.rows(0, finding.stop))
    except Exception:  # noqa: BLE001  the author's code; then the shorter history is what it cannot bear
        return False
    return not _compared(subject, subject.full, other, finding.stop, names).evidence
