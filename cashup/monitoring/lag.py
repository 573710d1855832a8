"""How late this process's event loop runs: the first thing to know when anything is slow."""

from __future__ import annotations

import asyncio
import time

INTERVAL = 0.25


class LoopLag:
    """Sleeps and measures by how much it overslept. `worst` is the maximum over about the last minute."""

    def __init__(self) -> None:
        self.latest = 0.0
        self.worst = 0.0

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            started = time.monotonic()
            await asyncio.sleep(INTERVAL)
            self.latest = max(0.0, time.monotonic() - started - INTERVAL)
            self.worst = max(self.latest, self.worst * 0.99)
