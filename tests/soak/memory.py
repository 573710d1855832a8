"""How much memory processes hold, and whether it grows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psutil

from benchmarks.measure import pss_mib

EVERY_SECONDS = 5.0
WARM_UP_SECONDS = 60.0

Sample = tuple[float, float, float]
"""Seconds since the process was met, PSS and RSS in MiB."""


@dataclass
class Memory:
    """The memory of one process through its lives: after a crash it is another one, that warms up anew."""

    pid: Callable[[], int]
    lives: dict[int, list[Sample]] = field(default_factory=dict)
    _met: dict[int, float] = field(default_factory=dict)

    async def run(self) -> None:
        """Look every few seconds, until cancelled."""
        while True:
            self._look(self.pid())
            await asyncio.sleep(EVERY_SECONDS)

    def _look(self, pid: int) -> None:
        now = time.monotonic()
        met = self._met.setdefault(pid, now)
        try:
            sample = (now - met, pss_mib(pid), psutil.Process(pid).memory_info().rss / 1024**2)
        except (OSError, RuntimeError, psutil.NoSuchProcess):
            return  # it has just died
        self.lives.setdefault(pid, []).append(sample)

    @property
    def latest(self) -> float:
        """PSS in MiB."""
        return next(reversed(self.lives.values()))[-1][1]

    def row(self) -> dict[str, float | int | None]:
        """MiB at the end and at most, per hour, in PSS and RSS."""
        return {
            "lives": len(self.lives),
            "pss_mib": round(self.latest, 1),
            "peak_pss_mib": round(max(pss for life in self.lives.values() for _, pss, _ in life), 1),
            "pss_mib_per_hour": self._slope(1),
            "rss_mib_per_hour": self._slope(2),
        }

    def _slope(self, column: int) -> float | None:
        """By least squares: one slope for all lives, each from its own level, without the warm-up."""
        warm = [
            [(sample[0], sample[column]) for sample in life if sample[0] > WARM_UP_SECONDS]
            for life in self.lives.values()
        ]
        return slope([life for life in warm if len(life) > 2])


def slope(lives: Sequence[Sequence[tuple[float, float]]]) -> float | None:
    """MiB per hour of (seconds, MiB), or None without enough of them."""
    over = under = 0.0
    for life in lives:
        time_mean, size_mean = (sum(values) / len(life) for values in zip(*life, strict=True))
        over += sum((at - time_mean) * (size - size_mean) for at, size in life)
        under += sum((at - time_mean) ** 2 for at, _ in life)
    return round(over / under * 3600, 1) if under else None
