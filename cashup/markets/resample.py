"""Bars of a longer timeframe from bars of a shorter one."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cashup.clock import timeframe_millis
from cashup.errors import DataError, UsageError
from cashup.markets.health import grid_offset
from cashup.strategies.bars import FIELDS, to_index, to_times


def resample(frame: pd.DataFrame, timeframe: str, longer: str) -> pd.DataFrame:
    """The bars of `frame` (of `timeframe`) as bars of `longer`, labelled by their open time on the grid of UTC.

    Weeks open on Monday. A bar at either end that `frame` does not cover from its first to its last moment is left out;
    inside, a longer bar is made of the bars that are there. Raises UsageError when `longer` is no multiple of
    `timeframe`, DataError when not one longer bar is complete.
    """
    step, length = timeframe_millis(timeframe), timeframe_millis(longer)
    if length <= step or length % step:
        raise UsageError(f"{longer} bars cannot be made of {timeframe} bars; choose a multiple, such as 1h of 1m")
    times = to_times(frame.index)
    opened = (times - grid_offset(length)) // length * length + grid_offset(length)
    complete = (opened >= times[0]) & (opened + length <= times[-1] + step)
    if not bool(complete.any()):
        raise DataError(f"{len(times)} {timeframe} bars do not cover one {longer} bar; bring in more of them")
    times, opened = times[complete], opened[complete]
    values = {name: frame[name].to_numpy(dtype=np.float64)[complete] for name in FIELDS}
    firsts = np.flatnonzero(np.diff(opened, prepend=opened[0] - 1))
    lasts = np.r_[firsts[1:], len(opened)] - 1
    data = {
        "open": values["open"][firsts],
        "high": np.maximum.reduceat(values["high"], firsts),
        "low": np.minimum.reduceat(values["low"], firsts),
        "close": values["close"][lasts],
        "volume": np.add.reduceat(values["volume"], firsts),
    }
    return pd.DataFrame(data, index=to_index(opened[firsts]))
