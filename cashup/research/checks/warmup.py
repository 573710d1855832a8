"""Warm-up: the shortest history that leads to the decisions of the whole history. A live worker fetches that much."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cashup.clock import isoformat
from cashup.errors import NotebookError
from cashup.research.checks.outputs import Values, decision_rows, differing, number
from cashup.research.checks.reach import cut_off
from cashup.research.checks.source import passed_to_known
from cashup.research.checks.subject import Subject
from cashup.research.checks.verdict import Check, Evidence, Verdict

NAME = "warmup"
TOLERANCE = 1e-4
"""An exposure that differs by less is the same decision: what is infinite by its formula (an exponential average) is
long enough once its remainder is smaller than that."""

AS_LIVE = "a target with a state is asked about every bar by itself and sees the last"

DECLARED_MOMENTS = 60
SEARCH_MOMENTS = 16
MOST_EVIDENCE = 3


def check_warmup(subject: Subject, *, honest: bool = True) -> Check:
    """Decide from windows of the declared length as a worker does; fails when the whole history decides otherwise.

    `needed_warmup` in the facts is the shortest one that was enough at every bar that was tried; None when not even
    half of the bars were. A target that is not `honest`, because it looks ahead, is not searched.
    """
    if not honest:
        return Check(NAME, Verdict.SKIPPED, "a target that looks ahead has no warm-up; mend that first")
    if subject.strategy.stateful:
        return Check(NAME, Verdict.PASSED, f"{AS_LIVE} {subject.warmup + 1} bars, in a backtest as in live trading")
    declared, total = subject.warmup, len(subject.bars)
    if total < declared + 20:
        return Check(NAME, Verdict.SKIPPED, f"{total} bars are too few for a warm-up of {declared}")
    windows = _Windows(subject)
    wrong = windows.wrong(declared, windows.moments(DECLARED_MOMENTS, declared))
    needed = windows.shortest(declared if not wrong else None)
    facts = {"declared_warmup": declared, "needed_warmup": needed}
    if not wrong and (needed is None or needed <= declared):
        spare = f"; {needed} would do" if needed is not None and needed < declared else ""
        return Check(
            NAME, Verdict.PASSED, f"warmup={declared} leads to the decisions of the whole history{spare}", facts=facts
        )
    evidence = wrong or windows.wrong(declared, windows.moments(10 * DECLARED_MOMENTS, declared))
    return Check(NAME, Verdict.FAILED, _advice(declared, needed), evidence[-MOST_EVIDENCE:], facts=facts)


def _advice(declared: int, needed: int | None) -> str:
    if needed is None:
        return (
            f"warmup={declared} is too short, and no window is long enough: the target depends on all bars since the "
            "first one; use rolling windows, or return NaN where nothing is decided"
        )
    return f"warmup={declared} is too short: write warmup={needed}"


class _Windows:
    """Windows of the bars, as a worker sees them: the last one of each decides."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._strategy = subject.fresh()
        self._known = passed_to_known(self._strategy)
        self._full: Values = subject.full["target"]
        self._random = np.random.default_rng(subject.seed + 1)

    def moments(self, count: int, warmup: int) -> list[int]:
        """Bars with at least `warmup` bars before them: half of them decisions, the rest anywhere."""
        begin = max(warmup, self._subject.warmup)
        rows = decision_rows(self._full, begin)
        chosen = self._random.choice(rows, min(len(rows), count // 2), replace=False) if len(rows) else rows
        rest = self._random.integers(begin, len(self._full), count - len(chosen))
        return sorted({int(row) for row in [*chosen, *rest]})

    def wrong(self, warmup: int, moments: Sequence[int], *, stop_at_first: bool = False) -> list[Evidence]:
        """The bars of `moments` at which a window with `warmup` bars before its last one decides otherwise."""
        found: list[Evidence] = []
        for row in moments:
            decided, cause = self._decide(row, warmup)
            columns = np.flatnonzero(differing(self._full[row], decided, TOLERANCE))
            if len(columns):
                column = int(columns[0])
                found.append(
                    Evidence(
                        cause=cause or f"decided from {warmup} bars before it instead of all {row}",
                        bar=isoformat(int(self._subject.bars.times[row])),
                        symbol=self._subject.bars.symbols[column],
                        full=number(self._full[row, column]),
                        truncated=number(decided[column]),
                    )
                )
                if stop_at_first:
                    break
        return found

    def _decide(self, row: int, warmup: int) -> tuple[Values, str | None]:
        bars = self._subject.bars
        window = bars.rows(row - warmup, row + 1)
        try:
            with cut_off(self._strategy, bars, row + 1, self._known):
                decided = self._strategy.decide(window)
        except NotebookError as error:
            return np.full(len(bars.symbols), np.nan), str(error)
        except Exception as error:  # noqa: BLE001  the author's code: a window that is too short may raise anything
            return np.full(
                len(bars.symbols), np.inf
            ), f"on {len(window)} bars it raises {type(error).__name__}: {error}"
        return np.array(list(decided.values())), None

    def shortest(self, enough: int | None) -> int | None:
        """The shortest warm-up at which no bar that is tried decides otherwise, at most half of the bars.

        `enough` is a warm-up that is known to be enough.
        """
        limit = len(self._full) // 2
        high = enough if enough is not None else self._grow(limit)
        if high is None:
            return None
        low, moments = 0, self.moments(SEARCH_MOMENTS, high)
        while low < high:
            middle = (low + high) // 2
            if self.wrong(middle, moments, stop_at_first=True):
                low = middle + 1
            else:
                high = middle
        return self._confirmed(high, enough if enough is not None else limit)

    def _grow(self, limit: int) -> int | None:
        moments = self.moments(SEARCH_MOMENTS, limit)
        warmup = max(self._subject.warmup, 8)
        while warmup < limit:
            if not self.wrong(warmup, moments, stop_at_first=True):
                return warmup
            warmup *= 2
        return limit if not self.wrong(limit, moments, stop_at_first=True) else None

    def _confirmed(self, warmup: int, limit: int) -> int | None:
        """`warmup`, or the next longer one that holds at many more bars as well."""
        moments = self.moments(2 * DECLARED_MOMENTS, limit)
        while warmup < limit and self.wrong(warmup, moments, stop_at_first=True):
            warmup += max(1, warmup // 20)
        return min(warmup, limit)
