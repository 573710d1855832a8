"""Looks at what passes on the way to the venue, and changes nothing."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

from tests.faults.proxy import UP, Link, Piece

_PLACED = re.compile(rb'"text": ?"(t-[0-9A-Z]{26})"')


@dataclass
class Passage:
    """`sent`: per client order id the moment (ns, monotonic) at which the request that places it passed."""

    direction: str = UP
    sent: dict[str, int] = field(default_factory=dict)

    def spoil(self, pieces: list[Piece], link: Link) -> list[Piece]:
        """The same pieces."""
        for _, data in pieces:
            for name in _PLACED.findall(data):
                self.sent.setdefault(name.decode(), time.perf_counter_ns())
        return pieces
