"""Bars of a longer timeframe from bars of a shorter one."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cashup.clock import timeframe_millis
from cashup.errors import DataError, UsageError
from cashup.strategies.bars import FIELDS, to_index, to_times
from cashup.strategies.timeframes import longer_bars


def resample(frame: pd.DataFrame, timeframe: str, longer: str) -> pd.DataFrame:
    """The bars of `frame` (of `timeframe`) as bars of `longer`, labelled by their open time on the grid of UTC.

    Weeks open on Monday. A bar at either end that `frame` does not cover from its first to its last moment is left out;
    inside, a longer bar is made of the bars that are there. Raises UsageError when `longer` is no multiple of
    `timeframe`, DataError when not one longer bar is complete.
    """
    step, length = timeframe_millis(timeframe), timeframe_millis(longer)
    if length <= step or length % step:
        raise UsageError(f"{longer} bars cannot be made of {timeframe} bars; choose a multiple, such as 1h of 1m")
    values = np.stack([frame[name].to_numpy(dtype=np.float64) for name in FIELDS])[:, :, None]
    times, made = longer_bars(to_times(frame.index), values, step, length)
    if not len(times):
        raise DataError(f"{len(frame)} {timeframe} bars do not cover one {longer} bar; bring in more of them")
    return pd.DataFrame(dict(zip(FIELDS, made[:, :, 0], strict=True)), index=to_index(times))
