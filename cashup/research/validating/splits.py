"""Splits: which bars choose the parameters, and which bars judge the choice.

Positions count the bars that may decide, from 0; ranges are half-open. The bars before a test range are its history
and serve as its warm-up: that is no leak, because a target looks back only. A leak is a position that was opened before
a test and is judged after it, so the training bars next to a test are left out: `purge` bars on either side (how long a
decision's outcome lasts), and after the test `embargo` bars more. Source: López de Prado, "Advances in Financial
Machine Learning", Wiley 2018, chapters 7 (purging, embargo) and 12 (combinatorial splits).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import comb

import numpy as np

from cashup.errors import UsageError


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Bars `start` to `stop` (not included) by position."""

    start: int
    stop: int

    def __len__(self) -> int:
        return max(self.stop - self.start, 0)


@dataclass(frozen=True, slots=True)
class Split:
    """Bars to choose on and bars to judge on; each is one or several spans in order, and they never meet."""

    train: tuple[Span, ...]
    test: tuple[Span, ...]


def rolling(bars: int, train: int, test: int, *, purge: int = 0, embargo: int = 0) -> list[Split]:
    """Windows of `train` bars, each followed by `test` bars; the next one begins `test` bars later.

    `purge` and `embargo` bars between the two are used by neither. Bars that fill no whole test window at the end make
    a shorter last one.
    """
    return list(_windows(bars, train, test, purge + embargo, anchored=False))


def expanding(bars: int, train: int, test: int, *, purge: int = 0, embargo: int = 0) -> list[Split]:
    """As `rolling`, but every train window begins at the first bar; `train` is the length of the first one."""
    return list(_windows(bars, train, test, purge + embargo, anchored=True))


def kfold(bars: int, folds: int, *, purge: int = 0, embargo: int = 0) -> list[Split]:
    """Each of `folds` stretches is the test once, all other bars train; purged, with embargo (chapter 7)."""
    return combinatorial(bars, folds, 1, purge=purge, embargo=embargo)


def combinatorial(bars: int, groups: int, tests: int = 2, *, purge: int = 0, embargo: int = 0) -> list[Split]:
    """Every choice of `tests` of `groups` stretches as test: comb(groups, tests) splits (chapter 12)."""
    if not 1 <= tests < groups:
        raise UsageError(f"of {groups} groups between 1 and {groups - 1} can be tests; {tests} was asked for")
    stretches = groups_of(bars, groups)
    _check_gap(purge, embargo)
    chosen = list(combinations(stretches, tests))
    return [Split(_without(bars, held_out, purge, embargo), held_out) for held_out in chosen]


def paths(groups: int, tests: int) -> list[list[int]]:
    """The whole paths that combinatorial splits make: for each path, per group, the number of the split that tests it.

    phi = comb(groups, tests) tests / groups paths, each going once through every group (chapter 12).
    """
    made: list[list[int]] = [[] for _ in range(comb(groups, tests) * tests // groups)]
    for group in range(groups):
        testing = [number for number, chosen in enumerate(combinations(range(groups), tests)) if group in chosen]
        for path, number in zip(made, testing, strict=True):
            path.append(number)
    return made


def groups_of(bars: int, groups: int) -> list[Span]:
    """`bars` cut into `groups` stretches of nearly the same length."""
    if not 2 <= groups <= bars:
        raise UsageError(f"{bars} bars make between 2 and {bars} groups; {groups} were asked for")
    edges = [bars * group // groups for group in range(groups + 1)]
    return [Span(start, stop) for start, stop in pairwise(edges)]


def _windows(bars: int, train: int, test: int, gap: int, *, anchored: bool) -> Iterator[Split]:
    if train < 1 or test < 1:
        raise UsageError(f"train and test windows need at least one bar each; they are {train} and {test}")
    _check_gap(gap, 0)
    first = train + gap
    if first >= bars:
        raise UsageError(f"{bars} bars are too few for a train window of {train} bars and a test; take more bars")
    for start in range(first, bars, test):
        begin = 0 if anchored else start - first
        yield Split((Span(begin, start - gap),), (Span(start, min(start + test, bars)),))


def _without(bars: int, tests: Sequence[Span], purge: int, embargo: int) -> tuple[Span, ...]:
    """The spans of `0..bars` that keep their distance from every test."""
    free = np.ones(bars + 2, dtype=np.int8)
    free[[0, -1]] = 0
    for span in tests:
        free[1 + max(span.start - purge, 0) : 1 + min(span.stop + purge + embargo, bars)] = 0
    edges = np.diff(free)
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    if not len(starts):
        raise UsageError(f"purge and embargo leave nothing of {bars} bars to train on; make them smaller")
    return tuple(Span(int(start), int(stop)) for start, stop in zip(starts, stops, strict=True))


def _check_gap(purge: int, embargo: int) -> None:
    if purge < 0 or embargo < 0:
        raise UsageError(f"purge and embargo are numbers of bars, 0 or more; they are {purge} and {embargo}")
