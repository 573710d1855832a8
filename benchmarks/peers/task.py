"""The task every peer is given, and how it reports: run by a peer's own Python, so nothing of CashUp is imported.

SMA 10/30 on the closes, long while the fast average is above the slow one, executed at the next bar's open, 0.1 % fee,
one unit per trade, ten million to start with.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

FAST, SLOW, FEE, CASH = 10, 30, 0.001, 10_000_000.0


def bars() -> pd.DataFrame:
    """The bars in the file that the command line names: columns open high low close volume, UTC index."""
    data = np.load(sys.argv[1])
    index = pd.DatetimeIndex(data["times"].astype("M8[ms]").astype("M8[ns]"), name="timestamp")
    return pd.DataFrame({name: data[name] for name in ("open", "high", "low", "close", "volume")}, index=index)


def report(run: Callable[[pd.DataFrame], dict[str, Any]]) -> None:
    """Run the peer's engine on the bars, and print what it took as JSON on the last line."""
    frame = bars()
    started = time.perf_counter()
    found = run(frame)
    found["engine_seconds"] = time.perf_counter() - started
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))
