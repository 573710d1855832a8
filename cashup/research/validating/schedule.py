"""A schedule: which splits a walk-forward makes of its bars, and which tests follow each other as one account."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cashup.clock import timeframe_millis
from cashup.errors import UsageError
from cashup.research.validating.splits import Span, Split, combinatorial, expanding, groups_of, kfold, paths, rolling

SCHEMES = ("rolling", "expanding", "kfold", "cpcv")

TRAIN_TO_TEST = 3
"""The train window in test windows when neither length is named."""


@dataclass(frozen=True)
class Schedule:
    """Splits, and whole ways through the bars: each a list of (number of the split, its test span) in order of time."""

    scheme: str
    splits: tuple[Split, ...]
    paths: tuple[tuple[tuple[int, Span], ...], ...]
    purge: int
    embargo: int


def schedule(
    scheme: str,
    bars: int,
    timeframe: str,
    *,
    train: str | int | None = None,
    test: str | int | None = None,
    folds: int | None = None,
    tests: int = 2,
    purge: str | int = 0,
    embargo: str | float = 0,
) -> Schedule:
    """Plan `bars` decisions. Lengths are bars, or durations such as `30d`; `embargo` may be a fraction of all bars.

    `rolling` and `expanding` take `train` and `test`; without `test` the bars behind the first train window make
    `folds` tests (default 6), without both the train window is three tests long. `kfold` and `cpcv` take `folds`
    (default 5 and 6), of which `tests` at a time are tested by cpcv.
    """
    if scheme not in SCHEMES:
        raise UsageError(f"there is no scheme {scheme!r}; there are {', '.join(SCHEMES)}")
    gap = _bars(purge, timeframe, bars), _bars(embargo, timeframe, bars)
    if scheme in ("kfold", "cpcv"):
        return _folded(scheme, bars, folds, tests, gap, lengths_given=train is not None or test is not None)
    windows = _windows(bars, timeframe, train, test, folds, sum(gap))
    make = rolling if scheme == "rolling" else expanding
    splits = make(bars, *windows, purge=gap[0], embargo=gap[1])
    way = tuple((number, split.test[0]) for number, split in enumerate(splits))
    return Schedule(scheme, tuple(splits), (way,), *gap)


def _folded(
    scheme: str, bars: int, folds: int | None, tests: int, gap: tuple[int, int], *, lengths_given: bool
) -> Schedule:
    if lengths_given:
        raise UsageError(f"{scheme} cuts the time into folds; name --folds instead of --train and --test")
    if scheme == "kfold":
        count, tests = folds or 5, 1
        splits = kfold(bars, count, purge=gap[0], embargo=gap[1])
    else:
        count = folds or 6
        splits = combinatorial(bars, count, tests, purge=gap[0], embargo=gap[1])
    groups = groups_of(bars, count)
    ways = tuple(tuple(zip(path, groups, strict=True)) for path in paths(count, tests))
    return Schedule(scheme, tuple(splits), ways, *gap)


def _windows(
    bars: int, timeframe: str, train: str | int | None, test: str | int | None, folds: int | None, gap: int
) -> tuple[int, int]:
    if folds is not None and test is not None:
        raise UsageError("name the length of a test or the number of folds, not both")
    count = folds or 6
    if test is not None:
        judged = _bars(test, timeframe, bars)
        return (_bars(train, timeframe, bars) if train is not None else TRAIN_TO_TEST * judged), judged
    if train is not None:
        chosen = _bars(train, timeframe, bars)
        return chosen, max(-(-(bars - chosen - gap) // count), 1)
    judged = max((bars - gap) // (count + TRAIN_TO_TEST), 1)
    return bars - gap - count * judged, judged


def _bars(length: str | float, timeframe: str, bars: int) -> int:
    """`length` in bars: a number of them, a fraction of all, or a duration such as `30d` (rounded up)."""
    if isinstance(length, str):
        if not length[-1:].isalpha():
            try:
                return _bars(float(length), timeframe, bars)
            except ValueError:
                raise UsageError(f"{length!r} is no length; write a number of bars or a duration such as 30d") from None
        try:
            return -(-timeframe_millis(length) // timeframe_millis(timeframe))
        except UsageError:
            raise UsageError(f"{length!r} is no length; write a number of bars or a duration such as 30d") from None
    if 0 < length < 1:
        return math.ceil(length * bars)
    if length < 0 or length != int(length):
        raise UsageError(f"a length is a number of bars, 0 or more; it is {length:g}")
    return int(length)
