"""Repairs of bars: only those that were asked for, each of them told, and no bar made up in silence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from cashup.clock import isoformat, timeframe_millis
from cashup.markets.dataset import Ranges
from cashup.markets.health import bad_rows, check_health, require_sound
from cashup.markets.merging import ranges_of, without_filled
from cashup.markets.remarks import outliers
from cashup.strategies.bars import FIELDS, to_index, to_times
from cashup.types import Millis

Fill = Literal["none", "flat"]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a repair does: to how many bars, and the first of them (open time in ms)."""

    code: str
    count: int
    first: Millis
    message: str


@dataclass(frozen=True, slots=True)
class Repair:
    """Repaired bars, what was done to them, and where the made-up ones are."""

    frame: pd.DataFrame
    steps: tuple[Step, ...]
    filled: Ranges


def repair(
    frame: pd.DataFrame,
    timeframe: str,
    *,
    drop_duplicates: bool = False,
    drop_bad: bool = False,
    drop_outliers: bool = False,
    fill: Fill = "none",
    fetched: pd.DataFrame | None = None,
    filled: Ranges = (),
) -> Repair:
    """What `frame` is after the chosen repairs, in this order.

    `drop_duplicates` keeps the last of the bars with one time; `drop_bad` drops what cannot be (no number, a high below
    the low, a price of zero, a time off the grid); `drop_outliers` drops moves beyond belief (remarks.outliers);
    `fetched` are real bars that are put where `frame` has none, or a made-up one; `fill` "flat" puts bars at the last
    close, without volume, into the gaps that are left. `filled` says which bars were made up before.
    """
    steps: list[Step] = []
    # Rows that go must go before bars are compared with their neighbours.
    if drop_bad:
        frame = _dropped(frame, bad_rows(frame, timeframe), "drop_bad", "drop bars that cannot be", steps)
    if drop_duplicates:
        twice = pd.Index(to_times(frame.index)).duplicated(keep="last")
        frame = _dropped(frame, twice, "drop_duplicates", "drop bars whose time comes again", steps).sort_index()
    if drop_outliers:
        frame = _dropped(frame, outliers(frame), "drop_outliers", "drop moves beyond belief", steps)
    step = timeframe_millis(timeframe)
    if fetched is not None and len(fetched):
        frame, filled = _fetched(frame, fetched, filled, step, steps)
    kept = filled_left(filled, frame, step)
    if fill == "flat":
        frame, made = _flat(frame, timeframe, steps)
        kept = ranges_of(np.union1d(_times_of(kept, step), _times_of(made, step)), step)
    return Repair(frame, tuple(steps), kept)


def repaired_file(frame: pd.DataFrame, timeframe: str, name: str, *, drop_duplicates: bool, drop_bad: bool) -> Repair:
    """The bars of a file after its repair. Raises DataError when they still cannot be used."""
    done = repair(frame, timeframe, drop_duplicates=drop_duplicates, drop_bad=drop_bad)
    require_sound(done.frame, timeframe, name)
    return done


def filled_left(filled: Ranges, frame: pd.DataFrame, step: Millis) -> Ranges:
    """The ranges of made-up bars, without those that are no longer in `frame`."""
    return ranges_of(np.intersect1d(_times_of(filled, step), to_times(frame.index)), step)


def _dropped(
    frame: pd.DataFrame, flags: np.ndarray[tuple[int], np.dtype[np.bool_]], code: str, words: str, steps: list[Step]
) -> pd.DataFrame:
    count = int(flags.sum())
    if count:
        first = int(to_times(frame.index)[int(flags.argmax())])
        steps.append(Step(code, count, first, f"{words}: {count}, the first at {isoformat(first)}"))
    return frame.loc[~flags]


def _fetched(
    frame: pd.DataFrame, fetched: pd.DataFrame, filled: Ranges, step: Millis, steps: list[Step]
) -> tuple[pd.DataFrame, Ranges]:
    times = to_times(fetched.index)
    missing = ~np.isin(times, to_times(frame.index)) | np.isin(times, _times_of(filled, step))
    real = fetched.loc[missing]
    if not len(real):
        return frame, filled
    first = int(times[missing][0])
    message = f"put in bars of the exchange: {len(real)}, the first at {isoformat(first)}"
    steps.append(Step("from_exchange", len(real), first, message))
    merged: pd.DataFrame = pd.concat([frame.loc[~frame.index.isin(real.index)], real]).sort_index()
    return merged, without_filled(filled, times[missing], step)


def _flat(frame: pd.DataFrame, timeframe: str, steps: list[Step]) -> tuple[pd.DataFrame, Ranges]:
    """Bars at the last close in every gap."""
    step = timeframe_millis(timeframe)
    gaps = check_health(frame, timeframe).gaps
    if not gaps:
        return frame, ()
    times = np.concatenate([np.arange(gap.after + step, gap.before, step, dtype=np.int64) for gap in gaps])
    last = frame["close"].reindex(to_index(times), method="ffill").to_numpy()
    made = pd.DataFrame(dict.fromkeys(FIELDS[:4], last) | {"volume": 0.0}, index=to_index(times))
    message = f"make up flat bars without volume: {len(times)}, the first at {isoformat(int(times[0]))}"
    steps.append(Step("fill_flat", len(times), int(times[0]), message))
    whole: pd.DataFrame = pd.concat([frame, made]).sort_index()
    return whole, ranges_of(times, step)


def _times_of(filled: Ranges, step: Millis) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    parts = [np.arange(first, last + 1, step, dtype=np.int64) for first, last in filled]
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])
