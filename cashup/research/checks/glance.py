"""The glance that goes with every backtest: a few shorter histories, in a few milliseconds."""

from __future__ import annotations

import time

import numpy as np

from cashup.clock import isoformat
from cashup.research.checks.outputs import Values, decision_rows, differing
from cashup.strategies.bars import Bars
from cashup.strategies.strategy import Strategy

BARS = 400


def glance(strategy: Strategy, bars: Bars, seconds: float) -> str | None:
    """A sentence when shorter histories change the targets of the last bars; None when nothing was seen.

    Only the last BARS bars (and the warm-up before them) are computed again, so what looks ahead from further away is
    left to `cashup check`. Stops after `seconds`, between two histories.
    """
    window = bars.rows(max(0, len(bars) - BARS - strategy.warmup), len(bars))
    if len(window) < strategy.warmup + 10:
        return None
    end = time.perf_counter() + seconds
    with strategy.state_aside():
        return _looked(strategy, window, end)


def _looked(strategy: Strategy, window: Bars, end: float) -> str | None:
    try:
        full = strategy.target_values(window)
        for stop in _stops(full, strategy.warmup):
            if time.perf_counter() > end:
                return None
            found = _compared(strategy, window, full, stop)
            if found:
                return found
    except Exception as error:  # noqa: BLE001  the author's code on fewer bars; the backtest itself is done and stands
        return (
            f"on the last {len(window)} bars alone the target raises {type(error).__name__}: {error}; "
            "live it sees no more than its warm-up, and `cashup check` says how much it needs"
        )
    return None


def _stops(full: Values, warmup: int) -> list[int]:
    """Lengths of histories: those that end with the last two decisions, and half of the bars."""
    decisions = decision_rows(full, warmup + 1)[-2:] + 1
    half = (warmup + len(full)) // 2
    return sorted({int(stop) for stop in [*decisions, half] if warmup < stop < len(full)})


def _compared(strategy: Strategy, window: Bars, full: Values, stop: int) -> str | None:
    first = strategy.warmup
    shorter = strategy.all_wanted(window.rows(0, stop))
    rows, columns = np.nonzero(differing(full[first:stop], shorter[first:]))
    if not len(rows):
        return None
    row, column = int(rows[-1]) + first, int(columns[-1])
    return (
        f"the target looks ahead: at {isoformat(int(window.times[row]))} {window.symbols[column]} it is "
        f"{full[row, column]:g}, and {shorter[row, column]:g} when the bars after "
        f"{isoformat(int(window.times[stop - 1]))} are taken away; `cashup check` says more"
    )
