"""How long the order path waits for what."""

from __future__ import annotations

from dataclasses import dataclass

from cashup.types import Millis


@dataclass(frozen=True, slots=True)
class Patience:
    """`fence`: how long after the claim the venue may still take the order; it refuses what it receives later.
    `margin`: how long after the fence a request may still be on its way into the venue's books. `apart`: the time
    between the two scans that prove absence. `trades`: how long the stream may take to bring an order's trades before
    they are read. `retry`: the pause before an order that the venue never had is made again. `survey`: the time between
    two comparisons with the venue while all is well. `quiet`: how long after the last fill one is made early.
    `refresh`: how often the venue's countdown is started anew, and `countdown` (seconds, 0 for never): after how long
    it cancels what rests, where the account has no figure of its own. `answer`: how long a request waits for an account
    that is not ready.
    """

    fence: Millis = 5_000
    margin: Millis = 2_000
    apart: Millis = 3_000
    trades: Millis = 50
    retry: Millis = 1_000
    survey: Millis = 60_000
    quiet: Millis = 5_000
    refresh: Millis = 10_000
    countdown: int = 30
    answer: Millis = 30_000
