"""Old rows and fresh ones of the same series."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cashup.markets.dataset import Ranges
from cashup.markets.segments import Times
from cashup.types import Millis


def merge(old: pd.DataFrame, fresh: pd.DataFrame, *, span: bool = False) -> pd.DataFrame:
    """Both, by time; where both have a row the fresh one stands. With `span` it replaces all between its ends."""
    if span:
        kept = old.loc[(old.index < fresh.index[0]) | (old.index > fresh.index[-1])]
    else:
        kept = old.loc[~old.index.isin(fresh.index)]
    merged: pd.DataFrame = pd.concat([kept, fresh]).sort_index(kind="stable")
    return merged


def source_of(old: str, fresh: str) -> str:
    """The origins of merged rows, each once."""
    return ", ".join(dict.fromkeys([*(word for word in old.split(", ") if word), fresh]))


def without_filled(filled: Ranges, times: Times, step: Millis) -> Ranges:
    """The ranges of made-up bars without those that are real now (`times`)."""
    if not filled:
        return ()
    made_up = np.concatenate([np.arange(first, last + 1, step, dtype=np.int64) for first, last in filled])
    return ranges_of(made_up[~np.isin(made_up, times)], step)


def ranges_of(times: Times, step: Millis) -> Ranges:
    """Ascending open times as closed ranges [first, last] without a gap."""
    if not len(times):
        return ()
    breaks = np.flatnonzero(np.diff(times) != step)
    firsts = times[np.r_[0, breaks + 1]]
    lasts = times[np.r_[breaks, len(times) - 1]]
    return tuple((int(first), int(last)) for first, last in zip(firsts, lasts, strict=True))
