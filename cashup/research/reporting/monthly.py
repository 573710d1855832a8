"""Returns by day and by month of the calendar in UTC."""

from __future__ import annotations

import numpy as np
import pandas as pd

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def daily_returns(equity: pd.Series[float], capital: float) -> pd.Series[float]:
    """The return of each UTC day that has a bar (ratios); the first one is measured from `capital`."""
    return _changes(_last_of(equity, "D"), capital)


def monthly_returns(equity: pd.Series[float], capital: float) -> pd.DataFrame:
    """Year x (`Jan` .. `Dec`, `Year`), ratios; NaN without a bar. The first month is measured from `capital`."""
    months = _changes(_last_of(equity, "M"), capital)
    years = sorted(set(pd.DatetimeIndex(months.index).year))
    table = pd.DataFrame(np.nan, index=pd.Index(years, name="year"), columns=list(MONTHS))
    for moment, value in months.items():
        table.loc[moment.year, MONTHS[moment.month - 1]] = value  # type: ignore[attr-defined]
    table["Year"] = (1 + table).prod(axis=1, min_count=1) - 1
    return table


def _last_of(equity: pd.Series[float], unit: str) -> pd.Series[float]:
    """The equity at the last bar of each day (`D`) or month (`M`), indexed by its beginning."""
    times = pd.DatetimeIndex(equity.index).tz_localize(None).to_numpy().astype(f"datetime64[{unit}]")
    last = np.flatnonzero(np.append(times[1:] != times[:-1], len(times) > 0))
    index = pd.DatetimeIndex(times[last].astype("datetime64[ms]")).tz_localize("UTC")
    return pd.Series(equity.to_numpy(dtype=np.float64)[last], index=index)


def _changes(last: pd.Series[float], capital: float) -> pd.Series[float]:
    return last / last.shift(1, fill_value=capital) - 1
