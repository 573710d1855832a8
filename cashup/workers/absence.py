"""Bars that closed while nobody decided them: how many, and what the deployment's `missed_bars` makes of them."""

from __future__ import annotations

from collections.abc import Sequence

from cashup.clock import isoformat
from cashup.errors import WorkFailed
from cashup.types import Millis

ACT, SKIP, STOP = "act", "skip", "stop"
"""`act` decides the newest one, `skip` none of them, `stop` ends the attempt when there is more than one."""


def missed_bars(times: Sequence[Millis], decided: Millis | None, length: Millis) -> int:
    """How many bars closed after `decided`: those in `times`, or by the clock when these do not reach back to it."""
    if not times or decided is None or times[-1] <= decided:
        return 0
    if times[0] > decided + length:
        return (times[-1] - decided) // length
    return sum(time > decided for time in times)


def decides(policy: str, missed: int, newest: Millis) -> bool:
    """May the newest of `missed` bars be decided? Raises WorkFailed when the deployment is to stop instead."""
    if policy == STOP and missed > 1:
        raise WorkFailed(
            f'{missed} bars were missed, the last one at {isoformat(newest)}, and missed_bars is "stop": look at the '
            'positions, set missed_bars to "act" or "skip", and start it again',
            code="missed_bars",
        )
    return policy != SKIP or missed == 0


def told(policy: str, missed: int) -> str:
    """The sentence for the status."""
    if missed == 0:
        return ""
    bars = "1 bar was" if missed == 1 else f"{missed} bars were"
    done = "decided" if missed == 1 else "the newest was decided"
    return f"{bars} missed; {'none of them is decided' if policy == SKIP else done} (missed_bars: {policy})"
